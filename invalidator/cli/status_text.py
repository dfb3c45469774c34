"""A daemon's status, for a person to read."""

from collections.abc import Iterator, Mapping
from typing import Any

Status = Mapping[str, Any]


def lines(status: Status) -> Iterator[str]:
    rules = status["rules"]
    yield f"{status['status']}  invalidator {status['version']}, since {status['started_at']}"
    yield from (f"  waits for {part}: {why}" for part, why in status["waiting"].items())
    yield from (f"  gives no sign of life: {name}" for name in status["stuck"])
    if status["dry_run"]:
        yield "  dry run: nothing is written"
    yield f"rules    {rules['hash']}, {rules['count']} of {rules['path']}, {rules['loaded_at']}"
    yield from (f"  not in force: {problem}" for problem in rules["refused"])
    for source in status["sources"]:
        yield f"source   {source['name']:8} {_source(source)}"
    for cache in status["caches"]:
        yield f"cache    {cache['name']:8} {cache['redis']}  {cache['waiting'] or 'ready'}"
    sweeps = status["sweeps"]
    yield (
        f"sweeps   {sweeps['running']:g} under way, {sweeps['patterns_waiting']} patterns wait, "
        f"{status['tickets']} batches wait"
    )
    entries = status["dead_letters"]["entries"]
    yield f"dead letters  {'not known' if entries is None else f'{entries:g}'}"
    for rule in status["by_rule"]:
        if rule["events"]:
            yield f"rule     {rule['rule']}: {_rule(rule)}"


def _source(source: Status) -> str:
    rates = source["events_per_second"]
    flow = ", ".join(f"{rate:g}/s {outcome}" for outcome, rate in rates.items())
    lag = "lag not known" if source["lag"] is None else f"lag {source['lag']}"
    oldest = f"oldest {source['oldest_unsettled_seconds']:g} s"
    return ", ".join(filter(None, [source["waiting"] or "ready", flow, lag, oldest]))


def _rule(rule: Status) -> str:
    said = f"about {rule['events']:,.0f} events, {rule['events_per_second']:g}/s"
    if rule["looked_up"]:
        share = rule["existed"] / rule["looked_up"]
        said += f"; {share:.0%} of {rule['looked_up']} names looked up were there"
    return said
