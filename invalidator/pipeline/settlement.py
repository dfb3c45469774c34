"""Applied batches: they wait for their tickets, and are settled in the order they were read in.

Once its names are applied, a batch shrinks to the positions that end it and what it waits for: a
sweep that began after it was read, a second pass. Later batches are applied meanwhile. Rejected
events are dead letters before their positions are acknowledged.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from invalidator.model import Failure, Fault, Record, Rejection
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.report import Reporter
from invalidator.pipeline.tickets import Waited, Waits
from invalidator.pipeline.work import Applied
from invalidator.runtime.health import Part, Unsettled
from invalidator.runtime.retry import until_available
from invalidator.sources.source import Source

MOST_WAITING = 10_000  # applied batches; then applying waits, too
LOOK_EVERY = 30.0  # seconds
BURIED_TOGETHER = 100  # each carries its whole event


class Letters(Protocol):
    """Keeps rejected events."""

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """Store them. Raises Unavailable; then they may be stored again."""


class Settlement:
    """Settles the batches of one source."""

    def __init__(
        self,
        source: Source,
        letters: Letters,
        part: Part,
        in_flight: InFlight,
        reporter: Reporter,
        account: Unsettled,
    ) -> None:
        """`part` says whether dead letters can be stored."""
        self.left = 0  # batches that a drain left, as a second pass was due too late
        self._source = source
        self._letters = letters
        self._part = part
        self._in_flight = in_flight
        self._reporter = reporter
        self._account = account
        self._line: asyncio.Queue[Applied | None] = asyncio.Queue(MOST_WAITING)

    async def join(self, applied: Applied) -> None:
        """Add a batch to the line."""
        if applied.rejections:
            self._in_flight.add(len(applied.rejections), applied.size)
        await self._line.put(applied)

    async def end(self) -> None:
        """Let `run` end once all batches in the line are settled."""
        await self._line.put(None)

    async def run(self) -> None:
        """Settle batches in order."""
        while (applied := await self._line.get()) is not None:
            if self.left or not await self._settle(applied):
                self.left += 1  # and all behind it, for the order's sake

    async def _settle(self, applied: Applied) -> bool:
        """Return whether it could be settled: a drain does not wait for everything."""
        rejections = applied.rejections
        if waits := applied.waits:
            waited = await self._waited(waits)
            if waited.left:
                return False
            rejections = [*rejections, *unexplained(self._source.name, waited.failures)]
        if rejections:
            await self._bury(rejections, applied.rules.hash)
            self._in_flight.remove(len(applied.rejections), applied.size)
            if result := applied.batch.result:
                result.rejections += rejections
        if not applied.batch.continued:
            await self._source.settle(applied.batch)
        self._account.settled()
        self._reporter.settled(applied, rejections)
        return True

    async def _waited(self, waits: Waits) -> Waited:
        """Wait for a batch's tickets; meanwhile a server that was unavailable may defer them."""
        while not waits.task.done():
            self._account.expect(waits.due)
            await asyncio.wait({waits.task}, timeout=LOOK_EVERY)
        return waits.task.result()

    async def _bury(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """Store a few at a time: these are not stored again when their server becomes unavailable
        later."""
        for at in range(0, len(rejections), BURIED_TOGETHER):
            few = rejections[at : at + BURIED_TOGETHER]
            put = partial(self._letters.put, few, rules_hash)
            await until_available(put, self._part, who=self._source.name)


def unexplained(source: str, failures: Iterable[Failure]) -> list[Rejection]:
    """Return dead letters for names without a known event: they say what may be stale."""
    nothing = Record(source, "", "", None)
    rejections = []
    for failure in failures:
        said = f"{failure.name!r} of cache {failure.cache!r} may be stale: {failure.message}"
        fault = Fault(failure.error, said, None, failure.kind)
        rejections.append(Rejection(nothing, None, (fault,)))
    return rejections
