"""`invalidator dead list`: list entries, newest first."""

import argparse
from contextlib import aclosing
from typing import TYPE_CHECKING

from invalidator.cli.common import as_json, say, warn
from invalidator.cli.dead.args import choice, expect_stream, table, when
from invalidator.deadletters.entry import Letter, plain
from invalidator.deadletters.shelf import DeadLetterStream

if TYPE_CHECKING:
    from invalidator.settings import Settings

_HEAD = ("ID", "FAILED", "FROM", "TYPE", "RULE", "TRIES", "ERROR", "WHY")


async def run(args: argparse.Namespace, settings: "Settings") -> int:
    expect_stream(settings)
    async with aclosing(DeadLetterStream.of(settings)) as stream:
        found, more = await _newest(args, stream)
        if args.json:
            for letter in found:
                print(as_json(plain(letter), indent=None))
        elif found:
            print("\n".join(table(_HEAD, [_row(letter) for letter in found])))
        else:
            say(f"none, in {stream.server}")
    if more:
        warn(f"there are more: try --limit {args.limit * 10}, or a filter")
    return 0


async def _newest(args: argparse.Namespace, stream: DeadLetterStream) -> tuple[list[Letter], bool]:
    found: list[Letter] = []
    async with aclosing(stream.chosen(choice(args), newest_first=True)) as letters:
        async for letter in letters:
            if len(found) == args.limit:
                return found, True
            found.append(letter)
    return found, False


def _row(letter: Letter) -> list[str]:
    first, record = letter.faults[0], letter.record
    rules = sorted({fault.rule for fault in letter.faults if fault.rule})
    return [
        letter.id,
        when(letter.failed_at),
        f"{record.source} {record.origin} {record.position}".strip(),
        letter.type or "?",
        ", ".join(rules) or "-",
        str(letter.attempts),
        first.error,
        first.message,
    ]
