"""`invalidator dead replay`: through the pipeline, by the rules of today."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

from invalidator.cli.common import INTERRUPTED, UsageError, rules_path
from invalidator.cli.dead import text as telling
from invalidator.cli.dead.args import choice, expect_choice
from invalidator.daemon.once import Progress, once
from invalidator.deadletters import DeadLetters, Redactor
from invalidator.deadletters.choose import Choice
from invalidator.deadletters.entry import Letter
from invalidator.deadletters.replay import AttemptLetters, LettersAgain
from invalidator.deadletters.shelf import Shelf
from invalidator.errors import ConfigError
from invalidator.rules import load
from invalidator.runtime import logs
from invalidator.runtime.terminal import Progress as Bar
from invalidator.settings.caches import unknown_caches

if TYPE_CHECKING:
    from invalidator.settings import Settings


async def run(args: argparse.Namespace, settings: "Settings") -> int:
    telling.expect_stream(settings)
    expect_choice(args)
    if settings.dry_run:
        raise UsageError("INVALIDATOR_DRY_RUN is set: nothing may be applied, so nothing is")
    rules = load(rules_path(args.rules))
    if unknown := [*unknown_caches(settings, rules.caches)]:
        raise ConfigError("\n".join(unknown))
    logs.configure(settings.log.format, "warning")
    async with AsyncExitStack() as stack:
        shelf = await stack.enter_async_context(aclosing(Shelf.of(settings, waits=True)))
        others = await stack.enter_async_context(aclosing(DeadLetters.of(settings)))
        wanted = Wanted(choice(args), shelf, masked=args.masked)
        source = LettersAgain(shelf, wanted.letters(), await wanted.total())
        redactor = Redactor(settings.dead_letters.redact)
        letters = AttemptLetters(source, shelf, others, redactor)
        bar = stack.enter_context(Bar("dead letters replayed", sys.stderr))
        said = await once(
            source,
            settings,
            rules,
            letters=letters,
            per_second=args.rate,
            tell=lambda progress: _show(bar, progress),
        )
    wanted.tell()
    return _told(said, source.removed) or int(wanted.absent)


class Wanted:
    """The entries that are meant, but for those that cannot be sent again."""

    def __init__(self, chosen: Choice, shelf: Shelf, *, masked: bool) -> None:
        self._chosen = chosen
        self._shelf = shelf
        self._masked = masked
        self._seen: set[str] = set()
        self._left: dict[str, list[str]] = {}  # why they stay -> entries

    async def total(self) -> int:
        """How many it may be at most."""
        return len(self._chosen.ids) or await self._shelf.count()

    async def letters(self) -> AsyncIterator[Letter]:
        async for letter in self._chosen.of(self._shelf):
            self._seen.add(letter.id)
            if letter.record.raw is None or (letter.lacks and not self._masked):
                self._left.setdefault(letter.lacks, []).append(letter.id)
            else:
                yield letter

    def tell(self) -> None:
        if absent := [each for each in self._chosen.ids if each not in self._seen]:
            self._left["there is no such entry"] = absent
        for why, ids in self._left.items():
            more = f" and {len(ids) - 3:,} more" if len(ids) > 3 else ""
            said = f"not replayed: {', '.join(ids[:3])}{more}: {telling.visible(why)}"
            print(said, file=sys.stderr)

    @property
    def absent(self) -> bool:
        return any(each not in self._seen for each in self._chosen.ids)


def _show(bar: Bar, progress: Progress) -> None:
    rejected = f"{progress.rejected:,} rejected again" if progress.rejected else ""
    bar.show(progress.settled, progress.total or 0, rejected)


def _told(said: Progress, removed: int) -> int:
    kept = said.settled - removed
    again = f"; {kept:,} rejected again, and kept" if kept else ""
    ended = "" if said.complete else "interrupted; "
    print(f"{ended}{telling.counted(removed, 'dead letter')} applied and removed{again}")
    if not said.complete:
        return INTERRUPTED
    return int(bool(kept))
