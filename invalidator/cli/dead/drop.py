"""`invalidator dead drop`: delete entries without applying them."""

import argparse
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

from invalidator.cli.common import NOT_CONFIRMED, confirmed, plural, say, warn
from invalidator.cli.dead.args import choice, expect_choice, expect_stream
from invalidator.deadletters.shelf import DeadLetterStream

if TYPE_CHECKING:
    from invalidator.settings import Settings

AT_ONCE = 1000  # entries in a command


async def run(args: argparse.Namespace, settings: "Settings") -> int:
    expect_stream(settings)
    expect_choice(args)
    async with aclosing(DeadLetterStream.of(settings)) as stream:
        ids, errors = await _chosen(args, stream)
        absent = [each for each in args.ids if each not in ids]
        if absent:
            warn(f"no such entry: {', '.join(absent)}")
        if not ids:
            print("nothing to drop")
            return int(bool(absent))
        say(f"{plural(len(ids), 'dead letter')} in {stream.server}:")
        for error, count in errors.most_common():
            say(f"  {count:,} {error}")
        if not (args.yes or confirmed("drop? what they name stays stale [y/N] ")):
            print("not dropped")
            return NOT_CONFIRMED
        dropped = 0
        for at in range(0, len(ids), AT_ONCE):
            dropped += await stream.remove(ids[at : at + AT_ONCE])
    print(f"{plural(dropped, 'dead letter')} dropped")
    return int(bool(absent))


async def _chosen(
    args: argparse.Namespace, stream: DeadLetterStream
) -> tuple[list[str], Counter[str]]:
    ids, errors = [], Counter[str]()
    async for letter in stream.chosen(choice(args)):
        ids.append(letter.id)
        errors[letter.faults[0].error] += 1
    return ids, errors
