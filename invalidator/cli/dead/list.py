"""`invalidator dead list`: the newest first."""

import argparse
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

from invalidator.cli.dead import text as telling
from invalidator.cli.dead.args import choice
from invalidator.deadletters.entry import Letter, plain
from invalidator.deadletters.shelf import Shelf

if TYPE_CHECKING:
    from invalidator.settings import Settings

_HEAD = ("ID", "FAILED", "FROM", "TYPE", "RULE", "TRIES", "ERROR", "WHY")


async def run(args: argparse.Namespace, settings: "Settings") -> int:
    telling.expect_stream(settings)
    async with aclosing(Shelf.of(settings)) as shelf:
        found, more = await _newest(args, shelf)
        if args.json:
            for letter in found:
                print(telling.as_json(plain(letter)))
        elif found:
            print("\n".join(telling.table(_HEAD, [_row(letter) for letter in found])))
        else:
            print(f"none, in {shelf.server}")
    if more:
        print(f"there are more: try --limit {args.limit * 10}, or a filter", file=sys.stderr)
    return 0


async def _newest(args: argparse.Namespace, shelf: Shelf) -> tuple[list[Letter], bool]:
    found: list[Letter] = []
    async with aclosing(choice(args).of(shelf, newest_first=True)) as letters:
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
        telling.when(letter.failed_at),
        f"{record.source} {record.origin} {record.position}".strip(),
        letter.type or "?",
        ", ".join(rules) or "-",
        str(letter.attempts),
        first.error,
        first.message,
    ]
