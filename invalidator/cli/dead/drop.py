"""`invalidator dead drop`: deleted unapplied."""

import argparse
import sys
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

from invalidator.cli.common import NOT_CONFIRMED, confirmed
from invalidator.cli.dead import text as telling
from invalidator.cli.dead.args import choice, expect_choice
from invalidator.deadletters.shelf import Shelf

if TYPE_CHECKING:
    from invalidator.settings import Settings

AT_ONCE = 1000  # entries a command


async def run(args: argparse.Namespace, settings: "Settings") -> int:
    telling.expect_stream(settings)
    expect_choice(args)
    async with aclosing(Shelf.of(settings)) as shelf:
        ids, errors = await _chosen(args, shelf)
        absent = [each for each in args.ids if each not in ids]
        if absent:
            print(f"there is no such entry: {', '.join(absent)}", file=sys.stderr)
        if not ids:
            print("nothing to drop")
            return int(bool(absent))
        print(f"{telling.counted(len(ids), 'dead letter')} in {shelf.server}:")
        for error, count in errors.most_common():
            print(f"  {count:,} {telling.visible(error)}")
        if not (args.yes or confirmed("drop? what they name stays stale [y/N] ")):
            print("not dropped")
            return NOT_CONFIRMED
        dropped = 0
        for at in range(0, len(ids), AT_ONCE):
            dropped += await shelf.remove(ids[at : at + AT_ONCE])
    print(f"{telling.counted(dropped, 'dead letter')} dropped")
    return int(bool(absent))


async def _chosen(args: argparse.Namespace, shelf: Shelf) -> tuple[list[str], Counter[str]]:
    ids, errors = [], Counter[str]()
    async for letter in choice(args).of(shelf):
        ids.append(letter.id)
        errors[letter.faults[0].error] += 1
    return ids, errors
