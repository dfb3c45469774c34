"""The answers of `/status` and `/rules`, as docs/admin.md describes them.

`format` grows when a field is removed.
"""

import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct, field, to_builtins
from prometheus_client import REGISTRY

from invalidator import __version__
from invalidator.admin.rates import Rates
from invalidator.freshness.findings import REASONS
from invalidator.freshness.freshness import Freshness
from invalidator.pipeline.pause import Pause
from invalidator.pipeline.pipeline import Pipeline
from invalidator.pipeline.rules_in_force import RulesInForce
from invalidator.rules import Rule, RuleSet
from invalidator.rules.explain.near_miss import near_miss
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.metrics import counted
from invalidator.targets.store import Store

FORMAT: Final = 1
MOST_PARTITIONS: Final = 500
MOST_REASONS: Final = 100
MOST_RULES: Final = 500  # with figures of their own
MOST_UNMATCHED: Final = 10  # types
MOST_NEAR_MISSES: Final = 100  # remembered

PREFIX: Final = "invalidator_"
FIGURES: Final = (  # metrics without labels
    *("deletes_last_minute", "braked_seconds_total", "keys_existed_total"),
    *("dead_letter_entries", "sweeps_running", "sweeps_total"),
)

Plain = dict[str, Any]
Figures = Mapping[str, float | None]


class DaemonView(Struct):
    """Everything that the admin port may look at."""

    in_force: RulesInForce
    health: Health
    pipelines: Sequence[Pipeline]
    store: Store
    pause: Pause
    path: str  # of the rules
    dry_run: bool
    freshness: Freshness | None = None
    rates: Rates = field(default_factory=Rates)
    now: Callable[[], float] = time.time
    started: float = 0.0
    host: str = field(default_factory=socket.gethostname)
    near_misses: dict[tuple[str, str], str] = field(default_factory=dict)  # by rules and type

    def __post_init__(self) -> None:
        self.started = self.now()

    @property
    def rules(self) -> RuleSet:
        return self.in_force.rules

    def lag(self) -> int | None:
        """Return how many events are not settled; None where no source knows."""
        known = [sum(lag.values()) for pipeline in self.pipelines if (lag := pipeline.lag())]
        return sum(known) if known else None


def status(view: DaemonView) -> Plain:
    """Return everything at a glance, from what is known: no server is asked."""
    waiting, figures = view.health.waiting(), _figures()
    return {
        "format": FORMAT,
        "version": __version__,
        "host": view.host,
        "status": _word(view, waiting),
        "started_at": _time(view.started),
        "now": _time(view.now()),
        "dry_run": view.dry_run,
        "waiting": waiting,
        "waiting_since": {name: _time(since) for name, since in _since(view, waiting)},
        "stuck": view.health.stuck(),
        "paused": _paused(view.pause),
        "rules": _rules(view),
        "sources": [_source(pipeline, view, waiting) for pipeline in view.pipelines],
        "caches": list(_caches(view, waiting)),
        "events": _events(view),
        "sweeps": _sweeps(view.store, figures),
        "tickets": sum(pipeline.tickets for pipeline in view.pipelines),
        "brake": {
            "deletes_last_minute": figures["deletes_last_minute"],
            "deletes_delayed_seconds": figures["braked_seconds_total"],
            "paused_topics": [
                {"source": pipeline.name, "topic": topic, "why": why}
                for pipeline in view.pipelines
                for topic, why in pipeline.braked.items()
            ],
        },
        "keys_existed": figures["keys_existed_total"],
        "dead_letters": {
            "entries": figures["dead_letter_entries"],
            "by_error": {error: n for (error,), n in counted(metrics.DEAD).items()},
            "reasons": _reasons(view),
        },
        "by_rule": _by_rule(view),
        "unmatched": _unmatched(view),
        "freshness": view.freshness.tally.plain() if view.freshness and view.rules.verified else [],
    }


def findings(view: DaemonView) -> Plain:
    """Return the results, and each stale entry that is remembered, the newest first."""
    if view.freshness is None:
        return {"format": FORMAT, "results": [], "waiting": 0, "findings": []}
    return {
        "format": FORMAT,
        "results": view.freshness.tally.plain(),
        "waiting": view.freshness.waiting,
        "findings": [
            {**to_builtins(finding), "explanation": REASONS[finding.why]}
            for finding in view.freshness.findings.newest()
        ],
    }


def rules_in_force(view: DaemonView) -> Plain:
    """Return each rule as its author wrote it."""
    rules = view.rules
    return {
        "format": FORMAT,
        "hash": rules.hash,
        "envelope": _envelope(rules),
        "rules": [_rule(rule) for rule in rules.rules],
    }


def _envelope(rules: RuleSet) -> Plain:
    """Return where an event has its type and its data, unless the rules say otherwise for it."""
    envelope = rules.engine("").envelope
    return {"format": envelope.format, "type": envelope.types[0], "data": envelope.data}


def _word(view: DaemonView, waiting: Mapping[str, str]) -> str:
    if view.health.stuck():
        return "stuck"
    if view.pause.paused:
        return "paused"
    return "waiting" if waiting else "ready"


def _paused(pause: Pause) -> Plain | None:
    paused = pause.paused
    if paused is None:
        return None
    everywhere = {"all": pause.shared is not None, "who": paused.who}
    return {"since": _time(paused.since), "why": paused.why, **everywhere}


def _rules(view: DaemonView) -> Plain:
    rules = view.rules
    return {
        "hash": rules.hash,
        "path": view.path,
        "loaded_at": _time(view.in_force.loaded),
        "count": len(rules.rules),
        "rejected": list(view.in_force.rejected),
    }


def _source(pipeline: Pipeline, view: DaemonView, waiting: Mapping[str, str]) -> Plain:
    name, lag = pipeline.name, pipeline.lag()
    rates: dict[str, float] = {}
    for (source, _, outcome), rate in view.rates.of(metrics.EVENTS).items():
        if source == name:
            rates[outcome] = rates.get(outcome, 0.0) + rate
    partitions = sorted(lag.items())[:MOST_PARTITIONS]
    return {
        "name": name,
        "waiting": waiting.get(name),
        "lag": sum(lag.values()) if lag else None,
        "partitions": [
            {"topic": topic, "partition": partition, "lag": behind}
            for (topic, partition), behind in partitions
            if topic
        ],
        "oldest_unsettled_seconds": round(_oldest(pipeline, view), 3),
        "tickets": pipeline.tickets,
        "events_per_second": {outcome: _round(rate) for outcome, rate in sorted(rates.items())},
    }


def _oldest(pipeline: Pipeline, view: DaemonView) -> float:
    """Return the age of the oldest unsettled event, at least: while a person has paused reading,
    events that wait to be read are as old as the pause."""
    paused = view.pause.paused
    waits = paused and sum(pipeline.lag().values())
    return max(pipeline.oldest, view.now() - paused.since if paused and waits else 0.0)


def _since(view: DaemonView, waiting: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Yield since when each part is waited for, as Unix time."""
    health = view.health
    for name in waiting:
        if name in health.parts:
            yield name, view.now() - (health.clock() - health.parts[name].since)


def _reasons(view: DaemonView) -> list[Plain]:
    """Return the top reasons of all sources."""
    found = [reason for pipeline in view.pipelines for reason in pipeline.reasons.top()]
    found.sort(key=lambda reason: -reason.events)
    return [
        {
            "rule": reason.rule or None,
            "what": reason.what,
            "error": reason.error,
            "events": reason.events,
            "last": _time(reason.last),
        }
        for reason in found[:MOST_REASONS]
    ]


def _caches(view: DaemonView, waiting: Mapping[str, str]) -> Iterator[Plain]:
    rules = view.rules
    for name, cache in sorted(rules.caches.items()):
        edge = view.store.edge(cache)
        host = None if edge else view.store.home(name, rules.caches)
        servers = edge.servers if edge else [host.name] if host else []
        parts = edge.parts if edge else [host.part.name, host.sweeps.name] if host else []
        yield {
            "name": name,
            "target": cache.target,
            "servers": servers,
            "redis": host.name if host else None,
            "prefix": cache.prefix,
            "waiting": next(filter(None, map(waiting.get, parts)), None),
        }


def _events(view: DaemonView) -> list[Plain]:
    """Return what flowed, by type as the rules write it."""
    rates = view.rates.of(metrics.EVENTS)
    return [
        {
            "source": source,
            "type": kind,
            "outcome": outcome,
            "total": _round(total),
            "per_second": _round(rates[source, kind, outcome]),
        }
        for (source, kind, outcome), total in sorted(counted(metrics.EVENTS).items())
    ]


def _sweeps(store: Store, figures: Figures) -> Plain:
    return {
        "running": figures["sweeps_running"],
        "done": figures["sweeps_total"],
        "patterns_waiting": sum(host.waiting for host in store.hosts),
    }


def _by_rule(view: DaemonView) -> list[Plain]:
    """Return figures of a sample: docs/admin.md says which."""
    events, rates = counted(metrics.RULE_EVENTS), view.rates.of(metrics.RULE_EVENTS)
    names, looked = _sums(metrics.RULE_NAMES), _sums(metrics.SAMPLED)
    existed = _sums(metrics.SAMPLED_EXISTED)
    rejected: dict[str, int] = {}
    for pipeline in view.pipelines:
        for reason in pipeline.reasons.top():
            rejected[reason.rule] = rejected.get(reason.rule, 0) + reason.events
    return [
        {
            "rule": rule.name,
            "events": _round(events.get((rule.name,), 0.0)),
            "events_per_second": _round(rates.get((rule.name,), 0.0)),
            "rejected": rejected.get(rule.name, 0),
            "names": _round(names.get(rule.name, 0.0)),
            "looked_up": int(looked.get(rule.name, 0)),
            "existed": int(existed.get(rule.name, 0)),
        }
        for rule in view.rules.rules[:MOST_RULES]
    ]


def _unmatched(view: DaemonView) -> list[Plain]:
    """Return the most frequent types that no rule matches, and what would match them."""
    found = [
        (count, kind, pipeline.name)
        for pipeline in view.pipelines
        for kind, count in pipeline.unmatched.items()
    ]
    return [
        {
            "source": source,
            "type": kind,
            "events": _round(count),
            "near_miss": _near_miss(view, kind) or None,
        }
        for count, kind, source in sorted(found, reverse=True)[:MOST_UNMATCHED]
    ]


def _near_miss(view: DaemonView, kind: str) -> str:
    known, asked = view.near_misses, (view.rules.hash, kind)
    if asked not in known:
        if len(known) >= MOST_NEAR_MISSES:
            known.clear()
        known[asked] = near_miss(kind, view.rules.rules[:MOST_RULES])
    return known[asked]


def _sums(counter: Any) -> dict[str, float]:
    """Return sums by rule, over all kinds."""
    found: dict[str, float] = {}
    for (rule, _), value in counted(counter).items():
        found[rule] = found.get(rule, 0.0) + value
    return found


def _rule(rule: Rule) -> Plain:
    return {
        "name": rule.name,
        "description": rule.description,
        "owner": rule.owner,
        "enabled": rule.enabled,
        "place": f"{rule.place.file}:{rule.place.line}",
        "on": [pattern.text for pattern in rule.on],
        "sources": list(rule.sources),
        "when": rule.when.text if rule.when else None,
        "cache": rule.cache,
        "invalidates": [
            {"kind": effect.kind, "template": effect.template.text} for effect in rule.effects
        ],
        "repeat_after_seconds": rule.repeat_after,
    }


def _figures() -> Figures:
    """Return figures, None where there is none. They are collected together, since each collection
    goes through all metrics."""
    wanted = REGISTRY.restricted_registry(f"{PREFIX}{name}" for name in FIGURES)
    found = {
        sample.name.removeprefix(PREFIX): _round(sample.value)
        for metric in wanted.collect()
        for sample in metric.samples
        if not math.isnan(sample.value)
    }
    return {name: found.get(name) for name in FIGURES}


def _round(value: float) -> float:
    return round(value, 3)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
