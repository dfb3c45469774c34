"""`invalidator explain`: show what the rules make of an event, or which rules reach a key."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from invalidator.cli.common import (
    UsageError,
    Verbs,
    add_rules,
    add_settings,
    as_json,
    content,
    pair,
    rules_path,
    say,
    settings_of,
)
from invalidator.runtime.terminal import paint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.model import Record
    from invalidator.rules import Explanation, RuleSet, Verdict, Yield

Live: TypeAlias = "dict[Yield, str]"

LONGEST = 2000  # characters of a line

_EPILOG = """\
examples:
  invalidator explain '{"type": "order.updated", "data": {"orderId": "ord_1"}}'
  invalidator explain @event.json --source orders --header ce_type=order.updated
  kcat -C -t orders -c 1 -e | invalidator explain -
  invalidator explain @event.json --live           and which of that exists in Redis now
  invalidator explain --key order:single:ord_1     which rules could ever delete this key

exit codes: 0 explained, 1 the event cannot be read or a rule rejects it
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "explain",
        help="show what the rules make of an event",
        description="Shows which rules match an event, which do not and why, and each name "
        "that they would invalidate. Nothing is invalidated.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "event", metavar="EVENT", nargs="?", help="JSON; @FILE reads a file, - stdin"
    )
    add_rules(parser)
    add_settings(parser)
    parser.add_argument("--source", metavar="NAME", default="", help="its topic or channel")
    parser.add_argument("--record-key", metavar="KEY", help="the key of its Kafka record")
    parser.add_argument(
        "--header", metavar="NAME=VALUE", action="append", default=[], help="one of its headers"
    )
    parser.add_argument("--key", metavar="KEY", help="a key: which rules could delete it?")
    parser.add_argument(
        "--live", action="store_true", help="look up which of it exists in Redis; reads only"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.rules import load

    if (args.event is None) == (args.key is None):
        raise UsageError("expected either an EVENT or --key KEY")
    if args.key is not None:
        return _key(load(rules_path(args)), args.key, json=args.json)
    record = _record(args)
    rules = load(rules_path(args))
    told = rules.explain(record)
    live = _live(args, rules, told.names) if args.live else {}
    print(as_json(_plain(told, live)) if args.json else "\n".join(shown(told, live)))
    return int(told.fault is not None or any(verdict.fault for verdict in told.verdicts))


def _live(args: argparse.Namespace, ruleset: "RuleSet", names: "Sequence[Yield]") -> Live:
    """Return how much of each name exists in Redis. Raises Unavailable."""
    import asyncio

    from invalidator.model import Names
    from invalidator.runtime.health import Health
    from invalidator.targets.build import store_of

    silent = settings_of(args).model_copy(update={"announce": "never"})

    async def count() -> Live:
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

    return asyncio.run(count())


def _record(args: argparse.Namespace) -> "Record":
    from invalidator.model import Record

    pairs = [pair("--header", text) for text in args.header]
    headers = tuple((name, os.fsencode(value)) for name, value in pairs)
    key = None if args.record_key is None else os.fsencode(args.record_key)
    return Record("explain", args.source, "", content(args.event), key, headers)


def shown(told: "Explanation", live: "Live | None" = None) -> list[str]:
    """Return the explanation as lines that are safe for a terminal."""
    from invalidator.runtime.text import visible

    return [_painted(visible(line, LONGEST)) for line in _text(told, live or {})]


def _painted(line: str) -> str:
    if line.startswith("+"):
        return paint(line, "green", sys.stdout)
    if line.startswith("-"):
        return paint(line, "dim", sys.stdout)
    return paint(line, "red", sys.stdout) if line.startswith("    rejected:") else line


def _text(told: "Explanation", live: Live) -> list[str]:
    if told.fault:
        return [f"the event cannot be read: {told.fault.message} ({told.fault.error})"]
    if told.event is None:
        return ["nothing to do: the record is a tombstone"]
    unsaid = "not in the event: it is the name of the topic or channel, which --source sets"
    lines = [f"type {told.event.type or unsaid}"]
    for verdict in sorted(told.verdicts, key=lambda entry: not entry.matched):
        lines += _lines(verdict, live)
    count = len({(name.cache, name.kind, name.name) for name in told.names})
    return [*lines, f"{count} name{'s' if count != 1 else ''} to invalidate"]


def _lines(verdict: "Verdict", live: Live) -> list[str]:
    lines = [f"{'+' if verdict.matched else '-'} {verdict.rule}: {verdict.why}"]
    if verdict.fault:
        said = f"{verdict.fault.what}: {verdict.fault.message} ({verdict.fault.error})"
        lines.append(f"    rejected: {said}")
    if verdict.note:
        lines.append(f"    {verdict.note}")
    for name in verdict.names:
        cache = "" if name.cache == "default" else f"  in {name.cache}"
        there = f"  ({live[name]})" if name in live else ""
        lines.append(f"    {name.kind:8} {name.name}  by {name.template}{cache}{there}")
    return lines


def _plain(told: "Explanation", live: Live) -> dict[str, Any]:
    from msgspec import to_builtins

    return {
        **told.plain(),
        "live": [{**to_builtins(name), "found": said} for name, said in live.items()],
    }


def _key(ruleset: "RuleSet", key: str, *, json: bool) -> int:
    from msgspec import to_builtins

    from invalidator.rules.explain.reach import protections, reaching, tagging

    found, tags = reaching(ruleset, key), tagging(ruleset)
    spared = list(protections(ruleset, key))
    if json:
        plain = to_builtins({"reach": found, "tags": tags, "spared": spared})
        print(as_json(plain))
        return 0
    for entry in found:
        say(f"{entry.rule}: {entry.kind} {entry.template}, on {', '.join(entry.on)}")
    if not found:
        print("no template names this key")
    if spared:
        say(f"sweeps spare it: {', '.join(spared)}")
    if tags:
        print("it is also deleted if it has one of these tags:")
        say("\n".join(f"  {entry.template}  ({entry.rule})" for entry in tags))
    return 0
