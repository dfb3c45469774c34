"""`invalidator dead show`: one of them, and what the rules say to it today."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from invalidator.cli import explain
from invalidator.cli.common import UsageError, rules_path
from invalidator.cli.dead import text as telling
from invalidator.cli.dead.args import expect_ids
from invalidator.deadletters.entry import Letter, plain
from invalidator.deadletters.shelf import Shelf
from invalidator.errors import RulesError
from invalidator.rules import Rule, RuleSet, load
from invalidator.runtime.text import visible

if TYPE_CHECKING:
    from invalidator.settings import Settings

MOST_LINES = 200  # of an event
_WIDTH = 10  # of a heading


async def run(args: argparse.Namespace, settings: "Settings") -> int:
    telling.expect_stream(settings)
    expect_ids([args.id] if args.id else [])
    async with aclosing(Shelf.of(settings)) as shelf:
        entry = args.id or await shelf.last()
        letter = (await shelf.get([entry])).get(entry) if entry else None
        server = shelf.server
    if letter is None:
        said = f"{args.id}: it was replayed, dropped or removed" if args.id else "at all"
        print(f"invalidator: there is no dead letter in {server}, {said}", file=sys.stderr)
        return 1
    if args.json:
        print(telling.as_json(plain(letter), indent=2))
        return 0
    for line in _lines(letter):
        print(visible(line, telling.LONGEST))
    _show_today(letter, args.rules)
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
    retried = f", {letter.attempts} attempts since {telling.when(letter.first_seen)}"
    for name, value in (
        ("entry", letter.id),
        ("type", letter.type or "could not be told"),
        ("id", letter.event_id),
        ("from", f"{record.source} {record.origin} {record.position}".strip()),
        ("published", telling.when(record.time_ms)),
        ("failed", telling.when(letter.failed_at) + (retried if letter.attempts > 1 else "")),
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
    yield f"the event, {telling.counted(len(raw), 'byte')}"
    try:
        text = json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = _text(raw)
    lines = text.split("\n")
    yield from (f"  {line}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"  and {len(lines) - MOST_LINES:,} lines more: --json shows them"


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _show_today(letter: Letter, path: str | None) -> None:
    """The rules of today; without any that can be read, the letter stands for itself."""
    try:
        rules = load(rules_path(path))
    except RulesError as error:
        print(f"\nthe rules of today cannot be used: {visible(str(error.problems[0]), 500)}")
        return
    wanted = {fault.rule for fault in letter.faults}
    for rule in rules.rules:
        if rule.name in wanted:
            print(f"\n{rule.place.file}:{rule.place.line}")
            print("\n".join(f"  {visible(line, telling.LONGEST)}" for line in text_of(rule)))
    if gone := sorted(name for name in wanted if name and name not in _names(rules)):
        print(f"\nno longer in the rules: {visible(', '.join(gone))}")
    if letter.record.raw is not None:
        print(f"\nthe rules of today ({rules.hash}) say")
        for line in explain.shown(rules.explain(letter.record, only_matching=True)):
            print(f"  {line}")
    if letter.lacks:
        print(f"\nit cannot be replayed: {letter.lacks}; `invalidator purge` deletes by hand")


def text_of(rule: Rule) -> list[str]:
    """As it stands in its file: its first line, and all that is indented as deep."""
    try:
        lines = Path(rule.place.file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{rule.place.file} cannot be read: {error}") from None
    first = rule.place.line - 1
    depth = len(lines[first]) - len(lines[first].lstrip(" -"))
    end = first + 1
    while end < len(lines) and (not lines[end].strip() or not lines[end][:depth].strip()):
        end += 1
    return dedent("\n".join(lines[first:end])).rstrip().split("\n")


def _names(rules: RuleSet) -> set[str]:
    return {rule.name for rule in rules.rules}
