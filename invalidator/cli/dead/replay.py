"""`invalidator dead replay`: apply entries through the pipeline, by the current rules."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

from invalidator.cli.common import INTERRUPTED, UsageError, as_json, plural, rules_path, warn
from invalidator.cli.dead.args import choice, expect_choice, expect_stream
from invalidator.daemon.once import Progress, once
from invalidator.deadletters import DeadLetters, Redactor
from invalidator.deadletters.entry import Letter
from invalidator.deadletters.replay import DeadLetterSource, ReplayLetters
from invalidator.deadletters.shelf import Choice, DeadLetterStream
from invalidator.rules import load
from invalidator.runtime import logs
from invalidator.runtime.terminal import Progress as Bar
from invalidator.settings import Settings
from invalidator.settings.caches import check_caches


async def replay(args: argparse.Namespace, settings: Settings) -> int:
    expect_stream(settings)
    expect_choice(args)
    if settings.dry_run:
        raise UsageError("INVALIDATOR_DRY_RUN is set, so nothing may be applied")
    rules = load(rules_path(args))
    check_caches(settings, rules.caches)
    logs.configure(settings.log.format, "warning")
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(
            aclosing(DeadLetterStream.of(settings, waits=True))
        )
        others = await stack.enter_async_context(aclosing(DeadLetters.of(settings)))
        chosen = Chosen(choice(args), stream, masked=args.masked)
        source = DeadLetterSource(stream, chosen.letters(), await chosen.total())
        redactor = Redactor(settings.dead_letters.redact)
        letters = ReplayLetters(source, stream, others, redactor)
        bar = stack.enter_context(Bar("dead letters replayed", sys.stderr))
        said = await once(
            source,
            settings,
            rules,
            letters=letters,
            per_second=args.rate,
            tell=lambda progress: _show(bar, progress),
        )
    chosen.report()
    told = _told(said, source.removed, json=args.json)
    return told or int(chosen.absent)


class Chosen:
    """The chosen entries, without those that cannot be replayed."""

    def __init__(self, choice: Choice, stream: DeadLetterStream, *, masked: bool) -> None:
        self._choice = choice
        self._stream = stream
        self._masked = masked
        self._seen: set[str] = set()
        self._left: dict[str, list[str]] = {}  # reason -> entries that are left out

    async def total(self) -> int:
        """Return how many entries there are at most."""
        return len(self._choice.ids) or await self._stream.count()

    async def letters(self) -> AsyncIterator[Letter]:
        async for letter in self._stream.chosen(self._choice):
            self._seen.add(letter.id)
            if letter.record.raw is None or (letter.lacks and not self._masked):
                self._left.setdefault(letter.lacks, []).append(letter.id)
            else:
                yield letter

    def report(self) -> None:
        if absent := [each for each in self._choice.ids if each not in self._seen]:
            self._left["there is no such entry"] = absent
        for why, ids in self._left.items():
            more = f" and {len(ids) - 3:,} more" if len(ids) > 3 else ""
            warn(f"not replayed: {', '.join(ids[:3])}{more}: {why}")

    @property
    def absent(self) -> bool:
        return any(each not in self._seen for each in self._choice.ids)


def _show(bar: Bar, progress: Progress) -> None:
    rejected = f"{progress.rejected:,} rejected again" if progress.rejected else ""
    bar.show(progress.settled, progress.total or 0, rejected)


def _told(said: Progress, removed: int, *, json: bool) -> int:
    kept = said.settled - removed
    if json:
        told = {"applied": removed, "rejected_again": kept, "complete": said.complete}
        print(as_json(told))
        return int(bool(kept)) if said.complete else INTERRUPTED
    again = f"; {kept:,} rejected again and stored again" if kept else ""
    ended = "" if said.complete else "interrupted; "
    print(f"{ended}{plural(removed, 'dead letter')} applied and removed{again}")
    if not said.complete:
        return INTERRUPTED
    return int(bool(kept))
