"""The status of a daemon as text."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from invalidator.cli.columns import age, painted, table, wrapped
from invalidator.cli.common import plural
from invalidator.runtime.terminal import Colour
from invalidator.runtime.text import visible

Answer: TypeAlias = Mapping[str, Any]

_COLOURS: Final[dict[str, Colour]] = {"ready": "green", "stuck": "red"}


def lines(status: Answer) -> Iterator[str]:
    """Yield what matters of the answer of /status, for a terminal."""
    parts = (_head, _sources, _caches, _work, _freshness, _rules, _unmatched)
    sections = [section for part in parts if (section := list(part(status)))]
    for number, section in enumerate(sections):
        yield from ([""] if number else [])
        yield from section


def _head(status: Answer) -> Iterator[str]:
    word = painted(status["status"], _COLOURS.get(status["status"], "yellow"))
    since = _ago(status, status["started_at"])
    host = f" on {status['host']}" if status.get("host") else ""
    yield f"{word}  invalidator {_safe(status['version'])}{_safe(host)}, started {since}"
    if paused := status.get("paused"):
        by = f" by {paused['who']}" if paused.get("who") else ""
        who = f"all daemons are paused{by}" if paused.get("all") else "paused by a person"
        why = f": {paused['why']}" if paused["why"] else ""
        yield from _alarm(f"{who} {_ago(status, paused['since'])}{why}", "yellow")
    for part, why in status["waiting"].items():
        if not (status.get("paused") and part == "intake"):
            yield from _alarm(f"{part} is not ready: {why}", "yellow")
    for name in status["stuck"]:
        yield from _alarm(f"{name} makes no progress", "red")
    if status["dry_run"]:
        yield "dry run: nothing is written"
    for held in status.get("brake", {}).get("paused_topics", ()):
        yield from _alarm(f"{held['source']} topic {held['topic']} is paused: {held['why']}", "red")
    rules = status["rules"]
    loaded = f"{plural(rules['count'], 'rule')} from {rules['path']} ({rules['hash']}), loaded "
    yield _safe(f"{loaded}{_ago(status, rules['loaded_at'])}")
    for problem in rules["rejected"]:
        yield from _alarm(f"the rules on disk are not in force: {problem}", "red")


def _alarm(text: str, colour: Colour) -> Iterator[str]:
    for line in wrapped(_safe(text, 500), indent="  ", first=""):
        yield painted(line, colour)


def _sources(status: Answer) -> Iterator[str]:
    head = ("SOURCE", "STATE", "LAG", "OLDEST", "APPLIED", "UNMATCHED", "REJECTED")
    rows = []
    for source in status["sources"]:
        rates = source["events_per_second"]
        lag = "?" if source["lag"] is None else f"{source['lag']:,.0f}"
        rows.append(
            [
                _safe(source["name"]),
                _state(source["waiting"]),
                lag,
                age(source["oldest_unsettled_seconds"]),
                _rate(rates.get("applied", 0)),
                _rate(rates.get("unmatched", 0), "yellow"),
                _rate(rates.get("rejected", 0), "red"),
            ]
        )
    yield from table(rows, head=head, wraps=1)


def _caches(status: Answer) -> Iterator[str]:
    rows = [
        [_safe(cache["name"]), _state(cache["waiting"]), _safe(", ".join(cache["servers"]))]
        for cache in status["caches"]
    ]
    yield from table(rows, head=("CACHE", "STATE", "SERVERS"))


def _state(waiting: str | None) -> str:
    return painted("not ready", "yellow") if waiting else painted("ready", "green")


def _rate(rate: float, colour: Colour | None = None) -> str:
    shown = f"{rate:,.1f}/s"
    return painted(shown, colour) if colour and rate else shown


def _work(status: Answer) -> Iterator[str]:
    sweeps = status["sweeps"]
    running = f"{sweeps['running'] or 0:g} running, {sweeps['patterns_waiting']} patterns waiting"
    entries = status["dead_letters"]["entries"]
    letters = "unknown" if entries is None else f"{entries:,.0f}"
    rows = [
        ("sweeps", running),
        ("batches waiting", str(status["tickets"])),
        ("dead letters", painted(letters, "red") if entries else letters),
    ]
    for name, said in rows:
        yield f"{name:15}  {said}"


def _freshness(status: Answer) -> Iterator[str]:
    """Yield what was measured for rules with verify:."""
    for result in status.get("freshness", ()):
        said = _safe(result["says"])
        shown = painted(said, "red") if result["stale"] else said
        yield f"{'fresh after ' + _safe(result['delay']):15}  {shown}"


def _rules(status: Answer) -> Iterator[str]:
    busy = [rule for rule in status["by_rule"] if rule["events"]]
    idle = [_safe(rule["rule"]) for rule in status["by_rule"] if not rule["events"]]
    rows = [
        [
            _safe(rule["rule"]),
            f"{rule['events']:,.0f}",
            f"{rule['events_per_second']:,.1f}/s",
            painted(f"{rejected:,.0f}", "red") if (rejected := rule.get("rejected", 0)) else "0",
            _hits(rule),
        ]
        for rule in busy
    ]
    yield from table(rows, head=("RULE", "EVENTS", "NOW", "REJECTED", "HITS"), wraps=0)
    if idle:
        yield from wrapped(f"no events: {', '.join(idle)}", indent="  ", first="")


def _hits(rule: Answer) -> str:
    """Return how many of the sampled names existed."""
    if not rule["looked_up"]:
        return "?"
    share = f"{rule['existed'] / rule['looked_up']:.0%}"
    return share if rule["existed"] else painted(share, "yellow")


def _unmatched(status: Answer) -> Iterator[str]:
    found = status.get("unmatched", ())
    if not found:
        return
    rows = [
        [_safe(each["type"]), f"{each['events']:,.0f}", _safe(each["near_miss"] or "")]
        for each in found
    ]
    yield from table(rows, head=("NO RULE IS ON", "EVENTS", "NEAR MISS"))


def _ago(status: Answer, time: str) -> str:
    """Return how long ago a time of the answer was, by the daemon's own clock."""
    try:
        now = datetime.fromisoformat(status["now"])
        return f"{age((now - datetime.fromisoformat(time)).total_seconds())} ago"
    except (KeyError, ValueError):
        return _safe(time)


def _safe(text: object, most: int = 200) -> str:
    return visible(str(text), most)
