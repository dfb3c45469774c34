"""`invalidator dead show`: show one entry, and what the current rules make of it."""

import argparse
import json
from collections.abc import Iterator
from contextlib import aclosing

from invalidator.cli import explain
from invalidator.cli.columns import width, wrapped
from invalidator.cli.common import as_json, plural, rules_path, say, warn
from invalidator.cli.dead.args import LONGEST, ago, expect_ids, expect_stream, when
from invalidator.deadletters.entry import Letter, plain
from invalidator.deadletters.shelf import DeadLetterStream
from invalidator.errors import RulesError
from invalidator.rules import RuleSet, load
from invalidator.runtime.text import visible
from invalidator.settings import Settings

MOST_LINES = 200  # of an event
_WIDTH = 10  # of a heading


async def show(args: argparse.Namespace, settings: Settings) -> int:
    expect_stream(settings)
    expect_ids([args.id] if args.id else [])
    async with aclosing(DeadLetterStream.of(settings)) as stream:
        entry = args.id or await stream.last()
        letter = (await stream.get([entry])).get(entry) if entry else None
        server = stream.server
    if letter is None:
        which = f"with the id {args.id}: it was replayed, dropped or removed" if args.id else ""
        warn(f"invalidator: there is no dead letter in {server} {which}".rstrip())
        return 1
    if args.json:
        print(as_json(plain(letter)))
        return 0
    for line in _lines(letter):
        shown = visible(line, LONGEST)
        inside = shown[: len(shown) - len(shown.lstrip())]
        fits = len(shown) <= width()
        print(shown if fits else "\n".join(wrapped(shown, indent=f"{inside}    ", first="")))
    _show_today(letter, args)
    return 0


def _lines(letter: Letter) -> Iterator[str]:
    yield from _head(letter)
    yield ""
    yield "rejected because"
    for fault in letter.faults:
        yield f"  {fault.rule or 'the event itself'}: {fault.error}"
        yield from (f"    {text}" for text in (fault.what, fault.message) if text)
    yield ""
    yield from _event(letter)


def _head(letter: Letter) -> Iterator[str]:
    record = letter.record
    retried = f"{letter.attempts} times since {when(letter.first_seen)}"
    for name, value in (
        ("entry", letter.id),
        ("type", letter.type or "unknown"),
        ("id", letter.event_id),
        ("from", f"{record.source} {record.origin} {record.position}".strip()),
        ("published", when(record.time_ms)),
        ("failed", f"{ago(letter.failed_at)} ago, {when(letter.failed_at)}"),
        ("tried", retried if letter.attempts > 1 else ""),
        ("by", f"rules {letter.rules}, invalidator {letter.version}"),
        ("key", "" if record.key is None else _text(record.key)),
        ("masked", ", ".join(letter.redacted)),
    ):
        if value:
            yield f"{name:{_WIDTH}} {value}"
    for name, header in record.headers:
        yield f"{'header':{_WIDTH}} {name}: {_text(header)}"


def _event(letter: Letter) -> Iterator[str]:
    raw = letter.record.raw
    if raw is None:
        yield f"the event: {letter.lacks}"
        return
    yield f"the event, {plural(len(raw), 'byte')}"
    try:
        text = json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = _text(raw)
    lines = text.split("\n")
    yield from (f"  {line}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"  and {len(lines) - MOST_LINES:,} more lines: --json shows them"


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _show_today(letter: Letter, args: argparse.Namespace) -> None:
    """Print where the rules are that rejected it, and what they make of it now."""
    try:
        rules = load(rules_path(args))
    except RulesError as error:
        print(f"\nthe current rules cannot be used: {visible(str(error.problems[0]), 500)}")
        return
    wanted = {fault.rule for fault in letter.faults}
    for rule in rules.rules:
        if rule.name in wanted:
            say(f"\nrule {rule.name}: {rule.place.file}:{rule.place.line}")
    if gone := sorted(name for name in wanted if name and name not in _names(rules)):
        print(f"\nno longer in the rules: {visible(', '.join(gone))}")
    if letter.record.raw is not None:
        print(f"\nwhat the current rules ({rules.hash}) make of it")
        for line in explain.shown(
            rules.explain(letter.record, only_matching=True), None, rules, inset=2
        ):
            print(f"  {line}")
    if letter.lacks:
        say(f"\nit cannot be replayed: {letter.lacks}; use `invalidator purge` to delete by hand")


def _names(rules: RuleSet) -> set[str]:
    return {rule.name for rule in rules.rules}
