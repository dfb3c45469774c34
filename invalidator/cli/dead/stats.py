"""`invalidator dead stats`: count entries by reason, rule, type and source."""

import argparse
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import asdict

from invalidator.cli.common import as_json, plural, say
from invalidator.cli.dead.args import expect_stream, when
from invalidator.deadletters.entry import Letter
from invalidator.deadletters.shelf import Choice, DeadLetterStream
from invalidator.runtime.text import visible
from invalidator.runtime.units import show_rough_size

if TYPE_CHECKING:
    from invalidator.settings import Settings

MOST = 20  # values of each kind that are shown


class Stats(Struct):
    """Figures about all dead letters."""

    entries: int = 0
    bytes: int = 0  # of their events
    oldest: int = 0  # when it was written, Unix milliseconds
    newest: int = 0
    tried_again: int = 0
    not_replayable: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, letter: Letter) -> None:
        record = letter.record
        written = int(letter.id.partition("-")[0])
        self.oldest = self.oldest or written
        self.newest = written
        self.entries += 1
        self.bytes += len(record.raw or b"")
        self.tried_again += letter.attempts > 1
        self.not_replayable += bool(letter.lacks)
        self.errors.update({fault.error for fault in letter.faults})
        self.rules.update({fault.rule or "(the event itself)" for fault in letter.faults})
        self.types[letter.type or "?"] += 1
        self.sources[f"{record.source} {record.origin}".strip()] += 1


async def run(args: argparse.Namespace, settings: "Settings") -> int:
    expect_stream(settings)
    stats = Stats()
    async with aclosing(DeadLetterStream.of(settings)) as stream:
        async for letter in stream.chosen(Choice()):
            stats.add(letter)
        server = stream.server
    if args.json:
        print(as_json(asdict(stats)))
    else:
        _show(stats, settings, server)
    return 0


def _show(stats: Stats, settings: "Settings", server: str) -> None:
    if not stats.entries:
        say(f"none, in {server}")
        return
    kept = settings.dead_letters
    most = f" of at most {kept.max_length:,}" if kept.max_length else ""
    size = f"{show_rough_size(stats.bytes)} of events"
    print(f"{plural(stats.entries, 'dead letter')}{most}, {size}, in {server}")
    print(f"written from {when(stats.oldest)} to {when(stats.newest)}")
    if stats.tried_again:
        print(f"{stats.tried_again:,} were replayed, and rejected again")
    if stats.not_replayable:
        print(f"{stats.not_replayable:,} cannot be replayed: no event, or masked values")
    for name in ("errors", "rules", "types", "sources"):
        print(f"\nby {name.removesuffix('s')}")
        for value, count in getattr(stats, name).most_common(MOST):
            say(f"  {count:9,}  {visible(value)}")
