"""Runs a finite source through a pipeline of its own, to its end: events that a person replays.

The daemon's pipeline, store and dead letters do the work; only pace and end differ.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final, Protocol

from msgspec import Struct

from invalidator.daemon.drain import Drain
from invalidator.deadletters import letters_of
from invalidator.model import Batch, Rejection
from invalidator.pipeline.inflight import InFlight, Limits
from invalidator.pipeline.pipeline import Pipeline
from invalidator.pipeline.settlement import Letters
from invalidator.rules import RuleSet
from invalidator.runtime.health import Health
from invalidator.runtime.tasks import end
from invalidator.settings import Settings
from invalidator.sources.source import Groupless, Lag, Source
from invalidator.targets.build import gate, store_of
from invalidator.targets.store import Store
from invalidator.targets.target import DryLetters, DryTarget

SMOOTH: Final = 0.1  # seconds of the rate that are read together


class Finite(Source, Protocol):
    """A source that ends. Records that were read and not settled may be read again after `open`."""

    @property
    def done(self) -> bool:
        """Return whether nothing more will come."""

    @property
    def total(self) -> int | None:
        """Return how many events it has, about; None while that is not known."""


class Progress(Struct):
    """The progress of a replay."""

    total: int | None = None
    settled: int = 0  # events that are applied, or dead letters
    rejected: int = 0  # entries that were put into the dead letters
    complete: bool = False  # all that the source had is settled


Tell = Callable[[Progress], None]


async def once(
    source: Finite,
    settings: Settings,
    rules: RuleSet,
    *,
    letters: Letters | None = None,
    per_second: int = 0,
    tell: Tell = lambda progress: None,
) -> Progress:
    """Run until the source has ended or a signal came, and what was read is settled.

    A second signal, or INVALIDATOR_DRAIN_TIMEOUT, gives that up. `per_second` is how many events
    may be read in a second, 0 is no limit. `tell` is called with the progress after every batch.
    With `dry_run` in the settings nothing is written. Unavailable servers are waited for.
    """
    health = Health()
    store = store_of(settings, health)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        if letters is None:
            letters = own = letters_of(settings)
            stack.push_async_callback(own.aclose)
        metered = Metered(source, per_second, tell)
        pipeline = Pipeline(
            metered,
            lambda: rules,
            DryTarget(store) if settings.dry_run else store,
            Counting(DryLetters() if settings.dry_run else letters, metered.progress),
            in_flight=InFlight(settings.in_flight.events, settings.in_flight.bytes),
            limits=Limits.of(settings),
            health=health,
            gate=gate(store),
        )
        metered.at_end = pipeline.stop
        drain = Drain(settings.drain_timeout)
        drain.listen()
        work = asyncio.create_task(_work(pipeline, store), name="work")
        ended = await drain.complete(work, lambda: pipeline.stop(settings.drain_timeout))
        metered.progress.complete = ended and source.done and not pipeline.unsettled
        return metered.progress


async def _work(pipeline: Pipeline, store: Store) -> None:
    async with asyncio.TaskGroup() as support:
        serving = support.create_task(store.run(), name="store")
        await pipeline.run()
        await end(serving)


class Metered(Groupless):
    """Reads a source at a pace, and reports its end and its progress."""

    def __init__(
        self,
        source: Finite,
        per_second: int,
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = source.name
        self.forgets = source.forgets
        self.progress = Progress()
        self.at_end: Callable[[], None] = lambda: None
        self._source = source
        self._per_second = per_second
        self._tell = tell
        self._clock = clock
        self._due = clock()
        self._stopped = asyncio.Event()

    async def open(self) -> None:
        await self._source.open()

    async def read(self, limit: int) -> Batch | None:
        if self._source.done:
            self.at_end()
            return None
        if not await self._is_due():
            return None
        batch = await self._source.read(min(limit, self._portion() or limit))
        if batch and self._per_second:
            self._due = max(self._due, self._clock()) + batch.events / self._per_second
        return batch

    async def settle(self, batch: Batch) -> None:
        await self._source.settle(batch)
        self.progress.settled += batch.events
        self.progress.total = self._source.total
        self._tell(self.progress)

    def lag(self) -> Lag:
        return self._source.lag()

    async def keep_alive(self) -> None:
        await self._source.keep_alive()

    async def stop(self) -> None:
        self._stopped.set()
        await self._source.stop()

    async def close(self) -> None:
        await self._source.close()

    def _portion(self) -> int:
        return max(1, int(self._per_second * SMOOTH)) if self._per_second else 0

    async def _is_due(self) -> bool:
        """Wait until the pace allows more to be read; return whether there was no stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), max(0.0, self._due - self._clock()))
        return not self._stopped.is_set()


class Counting:
    """Counts dead letters."""

    def __init__(self, letters: Letters, progress: Progress) -> None:
        self._letters = letters
        self._progress = progress

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        await self._letters.put(rejections, rules_hash)
        self._progress.rejected += len(rejections)
