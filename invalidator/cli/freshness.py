"""`invalidator freshness`: how fresh the caches are, and why entries are stale."""

import argparse
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from invalidator.cli.common import Verbs, add_json, add_rules, add_settings, as_json, say, whole

_EPILOG = """\
examples:
  invalidator freshness                  how many nines, and each stale entry with its reason
  invalidator freshness --json | jq '.findings[].key'
  invalidator freshness --url http://invalidator:8080
  invalidator freshness check --key order:single:o1
  invalidator freshness check --rule order-changed --report report.json

docs/freshness.md explains the figures.

exit codes: 0 nothing is stale, 1 stale entries were found or a server cannot be reached, 2 the
command line, the settings or the rules cannot be used
"""
_CHECK_EPILOG = """\
examples:
  invalidator freshness check --key order:single:o1 --key order:single:o2
  invalidator freshness check --rule order-changed
  invalidator freshness check --per-second 50 --report report.json

Only rules with verify: url: or verify: sql: can be checked without an event.

exit codes: 0 nothing is stale, 1 stale entries were found or a server cannot be reached, 2 the
command line, the settings or the rules cannot be used
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "freshness",
        help="show how fresh the caches are, and why entries are stale",
        description="Lists what a running daemon measured for rules with verify:, and each stale "
        "entry that it\nremembers, with the way of the event that should have removed it.",
        epilog=_EPILOG,
    )
    parser.add_argument("--url", metavar="URL", help="the admin port; default: as in the settings")
    add_settings(parser, redis=False)
    add_json(parser)
    parser.set_defaults(run=run)
    _add_check(parser.add_subparsers(title="what else", metavar="WHAT"))


def _add_check(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "check",
        help="compare keys with the source of truth now",
        description="Compares entries with the source of truth that their rules name: the keys "
        "given, or all keys\nof the rules, at a pace. Reads only.",
        epilog=_CHECK_EPILOG,
    )
    add_rules(parser)
    parser.add_argument("--key", action="append", default=[], help="check this key; repeatable")
    parser.add_argument(
        "--rule", metavar="NAME", action="append", default=[], help="only this rule; repeatable"
    )
    parser.add_argument(
        "--per-second", metavar="N", type=whole(1), default=100, help="keys a second (100)"
    )
    parser.add_argument("--report", metavar="PATH", help="write the report there, as JSON")
    add_settings(parser)
    add_json(parser)
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
    )
    parser.set_defaults(run=_check)


def run(args: argparse.Namespace) -> int:
    from invalidator.cli.control import ask_daemon

    answer = ask_daemon(args, "GET", "/freshness")
    say(as_json(answer) if args.json else "\n".join(_lines(answer)))
    return int(bool(answer["findings"]))


def _check(args: argparse.Namespace) -> int:
    from invalidator.cli.freshness_check import check

    return check(args)


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    if not any(result["checks"] or result["not_counted"] for result in answer["results"]):
        yield "nothing was checked yet: only events of rules with verify: are sampled"
    for result in answer["results"]:
        yield f"after {result['delay']:5} {_result(result)}"
        for rule, one in result["rules"].items():
            yield f"  {rule}: {_result(one)}"
    if answer["waiting"]:
        yield f"{answer['waiting']:,} sampled names are still to be checked"
    for finding in answer["findings"]:
        yield ""
        yield from _finding(finding)


def _result(result: Mapping[str, Any]) -> str:
    apart = ", ".join(f"{count:,} {what}" for what, count in result["not_counted"].items())
    return str(result["says"]) + (f" (not counted: {apart})" if apart else "")


def _finding(finding: Mapping[str, Any]) -> Iterator[str]:
    trace = finding["trace"]
    named = "" if finding["key"] == finding["name"] else f", of {finding['kind']} {finding['name']}"
    yield f"stale  {finding['key']}{named}  cache {finding['cache']}, rule {finding['rule']}"
    yield f"  found      {_time(finding['found'])}, {finding['delay']:g} s after the event"
    event = " ".join(filter(None, [trace["type"], trace["id"]]))
    place = "@".join(filter(None, [trace["origin"], trace["position"]]))
    yield f"  event      {event}, {trace['source']} {place}"
    yield (
        f"  published  {_time(trace['published']) if trace['published'] else 'unknown'}, "
        f"read {_time(trace['read'])}, applied {_time(trace['applied'])}"
    )
    yield f"  by         {trace['daemon']}, rules {trace['rules']}"
    ttl = "no TTL" if finding["ttl"] is None else f"{finding['ttl']:.0f} s to live"
    entry = f", entry {finding['entry']}" if finding["entry"] else ""
    yield f"  holds      {finding['digest']}{entry}, {ttl}, at most {finding['age']:.0f} s old"
    yield f"  why        {finding['explanation']}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
