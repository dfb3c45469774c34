"""`invalidator explain`: show what the rules make of events, or which rules reach a key."""

import argparse
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from invalidator.cli.columns import age, painted, width, wrapped
from invalidator.cli.common import (
    UsageError,
    Verbs,
    add_json,
    add_rules,
    add_settings,
    as_json,
    content,
    pair,
    rules_path,
    say,
    settings_of,
    whole,
)

if TYPE_CHECKING:
    from invalidator.cli.past import Replay
    from invalidator.model import Fault, Record
    from invalidator.rules import Explanation, RuleSet, Verdict, Yield
    from invalidator.settings import Settings

Live: TypeAlias = "dict[Yield, str]"

LONGEST = 2000  # characters of a line

_EPILOG = """\
examples:
  invalidator explain '{"type": "order.updated", "data": {"orderId": "ord_1"}}'
  invalidator explain @event.json --source orders --header ce_type=order.updated
  invalidator explain @event.json --live        and which of that exists now
  kcat -C -t orders -c 5 -e | invalidator explain -
      one event on each line
  invalidator explain --topic orders --last 100
      the newest events of a topic; reads only, and moves no position
  invalidator explain --key order:single:ord_1  which rules could ever delete it

exit codes: 0 explained, 1 an event cannot be read or a rule rejects it
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "explain",
        help="show what the rules make of events",
        description="Shows which rules match an event, which do not and why, and each name "
        "that they would invalidate. Nothing is invalidated.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "event", metavar="EVENT", nargs="?", help="JSON, one or one a line; @FILE, or - for stdin"
    )
    parser.add_argument("--topic", metavar="TOPIC", help="explain the newest events of this topic")
    parser.add_argument("--stream", metavar="KEY", help="explain the newest entries of this stream")
    parser.add_argument(
        "--last", metavar="N", type=whole(1), default=10, help="how many of them (default 10)"
    )
    parser.add_argument("--source", metavar="NAME", default="", help="the event's topic or channel")
    parser.add_argument("--record-key", metavar="KEY", help="the key of its Kafka record")
    parser.add_argument(
        "--header", metavar="NAME=VALUE", action="append", default=[], help="one of its headers"
    )
    parser.add_argument("--key", metavar="KEY", help="a key: which rules could delete it?")
    parser.add_argument(
        "--live", action="store_true", help="look up which of it exists in Redis; reads only"
    )
    add_rules(parser)
    add_settings(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.rules import load

    asked = (args.event, args.key, args.topic, args.stream)
    if sum(each is not None for each in asked) != 1:
        raise UsageError("expected one of EVENT, --key KEY, --topic TOPIC and --stream KEY")
    if args.key is not None:
        return _key(args, load(rules_path(args)))
    if args.event is None:
        return asyncio.run(_newest(args, load(rules_path(args))))
    records = _records(args)
    rules = load(rules_path(args))
    if len(records) > 1:
        return asyncio.run(_several(args, rules, _each(records)))
    told = rules.explain(records[0])
    live = asyncio.run(_live(settings_of(args), rules, told.names)) if args.live else {}
    print(as_json(_plain(told, live)) if args.json else "\n".join(shown(told, live, rules)))
    return int(_is_rejected(told))


# --- several events -----------------------------------------------------------------------------


async def _newest(args: argparse.Namespace, rules: "RuleSet") -> int:
    from invalidator.cli import past
    from invalidator.runtime import logs
    from invalidator.sources.replay import Newest

    logs.configure("console", "warning")
    newest = Newest(args.last)
    if args.topic:
        settings = settings_of(args, kafka__topics=args.topic)
        source: Replay = past.kafka(settings, [args.topic], newest)
    else:
        source = past.stream(settings_of(args), [args.stream], newest)
    found = [entry async for entry in past.events(source)]
    found.sort(key=lambda entry: entry[0].time_ms or 0)  # a topic has several partitions
    return await _several(args, rules, _each(*zip(*found[-args.last :], strict=True)))


async def _each(
    records: "Sequence[Record]" = (), refused: "Sequence[Fault | None]" = ()
) -> "AsyncIterator[tuple[Record, Fault | None]]":
    for index, record in enumerate(records):
        yield record, refused[index] if refused else None


async def _several(
    args: argparse.Namespace, rules: "RuleSet", events: "AsyncIterator[tuple[Record, Fault | None]]"
) -> int:
    from invalidator.cli.what_if import Outcome, lines, names_of

    outcome, rejected = Outcome(rules), False
    async for record, refused in events:
        told = outcome.add(record, refused)
        rejected = rejected or refused is not None or _is_rejected(told)
        if args.json:
            place = {"source": record.origin or None, "position": record.position or None}
            print(as_json({**place, **told.plain()}, indent=None))
        else:
            print("\n".join(_briefly(record, refused, told)))
    if not args.json:
        there = await existing(settings_of(args), rules, names_of(outcome)) if args.live else None
        print("\n".join(["", *lines(outcome, there)]) if outcome.events else "no events")
    return int(rejected)


def _briefly(record: "Record", refused: "Fault | None", told: "Explanation") -> Iterator[str]:
    from invalidator.runtime.text import visible

    place = f"{record.origin} {record.position}".strip()
    if fault := refused or told.fault:
        yield visible(f"{place} cannot be read: {fault.message} ({fault.error})".strip(), LONGEST)
        return
    kind = told.event.type if told.event else "a tombstone"
    yield painted(visible(f"{place} {kind}".strip(), LONGEST), "bold")
    for verdict in told.verdicts:
        for line in _lines(verdict, {}):
            yield from _fitting(visible(line, LONGEST))
    if not told.verdicts and told.event:
        yield "  no rule matches"


# --- one event ----------------------------------------------------------------------------------


async def _live(settings: "Settings", ruleset: "RuleSet", names: "Sequence[Yield]") -> Live:
    """Return how much of each name exists in Redis. Raises Unavailable."""
    from invalidator.model import Names
    from invalidator.runtime.health import Health
    from invalidator.targets.build import store_of

    silent = settings.model_copy(update={"announce": "never"})
    store = store_of(silent, Health(), observe=lambda progress: None)
    live = {}
    try:
        for name in dict.fromkeys(names):
            alone = {name.cache: Names(**{name.kind: {name.name}})}
            found = await store.count(alone, ruleset.caches)
            live[name] = ", ".join(counted.found for counted in found)
    finally:
        await store.close()
    return live


async def existing(
    settings: "Settings", ruleset: "RuleSet", names: "Sequence[Yield]"
) -> tuple[int, int]:
    """Return how many of these keys exist, and of how many. Raises Unavailable."""
    found = await _live(settings, ruleset, names)
    return sum(said == "exists" for said in found.values()), len(found)


def _records(args: argparse.Namespace) -> "Sequence[Record]":
    """Return the events of the argument: one, or one on each line."""
    from invalidator.model import Record

    pairs = [pair("--header", text) for text in args.header]
    headers = tuple((name, os.fsencode(value)) for name, value in pairs)
    key = None if args.record_key is None else os.fsencode(args.record_key)
    raws = _split(content(args.event))
    return [Record("explain", args.source, "", raw, key, headers) for raw in raws]


def _split(raw: bytes) -> list[bytes]:
    """Return the lines of newline-delimited JSON, or the text as one event."""
    import orjson

    lines = [line for line in raw.splitlines() if line.strip()]
    if len(lines) < 2:
        return [raw]
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return lines if lines[0].lstrip()[:1] == b"{" and lines[0].rstrip()[-1:] == b"}" else [raw]
    return [raw]


def shown(
    told: "Explanation",
    live: "Live | None" = None,
    rules: "RuleSet | None" = None,
    *,
    inset: int = 0,
) -> list[str]:
    """Return the explanation as lines that are safe for a terminal, and so much narrower."""
    from invalidator.runtime.text import visible

    lines = [visible(line, LONGEST) for line in _text(told, live or {}, rules)]
    return [line for long in lines for line in _fitting(long, inset)]


def _fitting(line: str, inset: int = 0) -> Iterator[str]:
    """Yield a line in its colour, in several lines where the terminal is too narrow."""
    inside = line[: len(line) - len(line.lstrip())]
    name, by, template = line.partition("  by ")
    if len(line) <= width() - inset:
        parts = [line]
    elif by:
        parts = [name, f"{inside}{' ' * 9}by {template}"]
    else:
        parts = wrapped(line.strip(), indent=f"{inside}    ", first=inside, inset=inset)
    for part in parts:
        if line.startswith("+"):
            yield painted(part, "green")
        elif line.startswith("-"):
            yield painted(part, "dim")
        else:
            yield painted(part, "red") if line.startswith("    rejected:") else part


def _text(told: "Explanation", live: Live, rules: "RuleSet | None") -> list[str]:
    if told.fault:
        return [f"the event cannot be read: {told.fault.message} ({told.fault.error})"]
    if told.event is None:
        return ["nothing to do: the record is a tombstone"]
    unsaid = "not in the event: it is the name of the topic or channel, which --source sets"
    lines = [f"type {told.event.type or unsaid}"]
    for verdict in sorted(told.verdicts, key=lambda entry: not entry.matched):
        lines += _lines(verdict, live)
    count = len({(name.cache, name.kind, name.name) for name in told.names})
    lines.append(f"{count} name{'s' if count != 1 else ''} to invalidate")
    if rules and not any(verdict.matched for verdict in told.verdicts):
        lines += _hint(told.event.type, rules)
    return lines


def _hint(kind: str, rules: "RuleSet") -> Iterator[str]:
    from invalidator.rules.explain.near_miss import near_miss

    if not rules.written(kind) and (near := near_miss(kind, rules.rules)):
        yield f"no rule is on {kind}: {near}"


def _lines(verdict: "Verdict", live: Live) -> list[str]:
    lines = [f"{'+' if verdict.matched else '-'} {verdict.rule}: {verdict.why}"]
    if verdict.fault:
        said = f"{verdict.fault.what}: {verdict.fault.message} ({verdict.fault.error})"
        lines.append(f"    rejected: {said}")
    if verdict.note:
        lines.append(f"    {verdict.note}")
    for name in verdict.names:
        cache = _in(name.cache)
        there = f"  ({live[name]})" if name in live else ""
        lines.append(f"    {name.kind:8} {name.name}  by {name.template}{cache}{there}")
    return lines


def _is_rejected(told: "Explanation") -> bool:
    return told.fault is not None or any(verdict.fault for verdict in told.verdicts)


def _plain(told: "Explanation", live: Live) -> dict[str, Any]:
    from msgspec import to_builtins

    return {
        **told.plain(),
        "live": [{**to_builtins(name), "found": said} for name, said in live.items()],
    }


def _in(cache: str) -> str:
    return "" if cache == "default" else f"  in {cache}"


# --- a key --------------------------------------------------------------------------------------


def _key(args: argparse.Namespace, ruleset: "RuleSet") -> int:
    import asyncio

    from msgspec import to_builtins

    from invalidator.rules.explain.reach import protections, reaching, tagging

    key = args.key
    found, tags = reaching(ruleset, key), tagging(ruleset)
    spared = list(protections(ruleset, key))
    there = asyncio.run(_there(settings_of(args), key)) if args.live else ""
    if args.json:
        live = {"live": there} if there else {}
        print(as_json({**to_builtins({"reach": found, "tags": tags, "spared": spared}), **live}))
        return 0
    if there:
        say(f"{key} {there}")
    for entry in found:
        said = f"{entry.rule}: {entry.kind} {entry.template}, on {', '.join(entry.on)}"
        said += _in(entry.cache)
        say("\n".join(wrapped(said, indent="    ", first="")))
    if not found:
        print("no template names this key")
    if spared:
        say(f"sweeps spare it: {', '.join(spared)}")
    if tags:
        print("it is also deleted if it has one of these tags:")
        say("\n".join(f"  {entry.template}  ({entry.rule}){_in(entry.cache)}" for entry in tags))
    return 0


async def _there(settings: "Settings", key: str) -> str:
    """Return whether a key exists, and for how long still. Raises Unavailable."""
    from invalidator.redisclient import client, converse
    from invalidator.redisclient.errors import reaching
    from invalidator.runtime.urls import redact

    url = settings.redis_url.get_secret_value()
    options = settings.redis_tls.options()
    with reaching(redact(url)):
        async with client(url, settings.redis_timeout, options) as redis:
            left, kind = await converse(redis, [("PTTL", key), ("TYPE", key)])
    if left == -2:
        return "does not exist"
    expires = "never expires" if left == -1 else f"expires in {age(left / 1000)}"
    return f"exists ({kind.decode()}, {expires})"
