"""A finite source through a pipeline of its own, to its end: what a person replays.

The daemon's own pipeline, store and dead letters do the work; only signals, pace and end differ.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Final, Protocol

from msgspec import Struct

from invalidator.deadletters import letters_of
from invalidator.errors import first_of
from invalidator.model import Batch, Rejection
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.pipeline import Letters, Limits, Pipeline
from invalidator.rules import RuleSet
from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.sources.source import Lag, Source
from invalidator.targets.build import gate, store_of
from invalidator.targets.dry import DryLetters, DryStore

SMOOTH: Final = 0.1  # seconds; so much of the rate goes at once


class Finite(Source, Protocol):
    """A source that ends by itself. What it gave and was not settled, `open` may give again."""

    @property
    def done(self) -> bool:
        """Nothing more will come."""

    @property
    def total(self) -> int | None:
        """How many events it has, about; None while that is not known."""


class Progress(Struct):
    """How far it is."""

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
    """Until the source has ended, or a signal came; then what was read is settled first.

    A second signal, or INVALIDATOR_DRAIN_TIMEOUT, gives that up. `per_second` is how many events
    may be read in a second, 0 as many as come. `tell` hears of the progress after every batch.
    With `dry_run` in the settings nothing is written. A server that is away is waited for.
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
            DryStore() if settings.dry_run else store,
            Counting(DryLetters() if settings.dry_run else letters, metered.progress),
            in_flight=InFlight(settings.in_flight.events, settings.in_flight.bytes),
            limits=Limits.of(settings),
            health=health,
            gate=gate(store),
        )
        metered.at_end = pipeline.stop
        serving = asyncio.create_task(store.run(), name="store")
        running = asyncio.create_task(pipeline.run(), name="pipeline")
        try:
            ended = await _until_over({serving, running}, pipeline, settings.drain_timeout)
        finally:
            await _cancel(serving, running)
        metered.progress.complete = ended and source.done and not pipeline.unsettled
        return metered.progress


class Metered:
    """A source at a pace, which says when it has ended and how far it is."""

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
        """Whether more may be read, once the pace allows it; never after a stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), max(0.0, self._due - self._clock()))
        return not self._stopped.is_set()


class Counting:
    """Dead letters, counted."""

    def __init__(self, letters: Letters, progress: Progress) -> None:
        self._letters = letters
        self._progress = progress

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        await self._letters.put(rejections, rules_hash)
        self._progress.rejected += len(rejections)


async def _until_over(
    tasks: set["asyncio.Task[None]"], pipeline: Pipeline, drain_timeout: float
) -> bool:
    """Until one of them has ended; whether all that was read is settled."""
    stop, force = asyncio.Event(), asyncio.Event()
    stopping = asyncio.create_task(stop.wait(), name="stop")
    forcing = asyncio.create_task(force.wait(), name="force")
    try:
        with _signals(stop, force):
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            within = drain_timeout if stop.is_set() else None
            pipeline.stop(float("inf") if within is None else within)
            over = {*tasks, forcing}
            await asyncio.wait(over, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in tasks if task.done()]
        for task in ended:
            _check(task)
        return bool(ended)
    finally:
        await _cancel(stopping, forcing)


def _check(task: "asyncio.Task[None]") -> None:
    """Raise what it failed by, as that was raised."""
    if error := task.exception():
        raise first_of(error)


@contextmanager
def _signals(stop: asyncio.Event, force: asyncio.Event) -> Iterator[None]:
    """The first asks for an orderly end, the second forces it."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        (force if stop.is_set() else stop).set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, heard)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _cancel(*tasks: "asyncio.Task[object]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
