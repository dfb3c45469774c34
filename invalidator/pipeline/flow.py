"""One log line every half minute while something flows, instead of one for each batch."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import asdict

log = structlog.get_logger("invalidator")

EVERY: Final = 30.0  # seconds between two lines
SOON: Final = 1.0  # seconds from the first event after a rest to its line


class Counts(Struct):
    """Counts what was settled since the last line."""

    batches: int = 0
    events: int = 0
    names: int = 0
    existed: int = 0
    unmatched: int = 0
    rejected: int = 0


class Flow:
    """Counts what one source's batches came to, and logs it."""

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._counts = Counts()
        self._since = 0.0
        self._flows = asyncio.Event()

    def add(self, *, events: int, names: int, existed: int, unmatched: int, rejected: int) -> None:
        """Count one batch; a batch that only reports a gap is none."""
        if not (events or names or rejected):
            return
        counts = self._counts
        if not counts.batches:
            self._since = self._clock()
            self._flows.set()
        counts.batches += 1
        counts.events += events
        counts.names += names
        counts.existed += existed
        counts.unmatched += unmatched
        counts.rejected += rejected

    async def run(self) -> None:
        """Log soon after the first event, then every half minute while something flows."""
        while True:
            await self._flows.wait()
            await asyncio.sleep(SOON)
            self.report()
            await asyncio.sleep(EVERY - SOON)

    def report(self) -> None:
        """Log what was not logged yet, if there is anything."""
        if self._counts.batches:
            seconds = round(self._clock() - self._since, 1)
            log.info("flow", source=self._source, seconds=seconds, **asdict(self._counts))
        self._counts = Counts()
        self._flows.clear()
