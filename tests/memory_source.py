"""A source in memory: it feeds the pipeline in tests."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from invalidator.model import Batch, Record, Slice
from invalidator.sources.source import Lag

ORIGIN = "memory"


class Ends(Struct, frozen=True):
    """What settling a batch acknowledges."""

    position: int
    round: int  # batches of an older one were read before it was paused


class MemorySource:
    """Keeps what is not settled, and gives it again when it is opened anew."""

    name = "memory"
    forgets = False
    overflowing: frozenset[str] = frozenset()

    def __init__(self, moment: float = 0.05) -> None:
        self._moment = moment  # seconds that an empty read waits
        self._records: list[bytes | None] = []
        self._next = 0
        self._settled = 0
        self._arrived = asyncio.Event()
        self._paused = False
        self._round = 0

    @property
    def settled(self) -> int:
        return self._settled

    def publish(self, *values: bytes | None) -> None:
        self._records.extend(values)
        self._arrived.set()

    async def open(self) -> None:
        self._next = self._settled

    async def read(self, limit: int) -> Batch | None:
        values = self._records[self._next : self._next + limit]
        if self._paused or not values:
            await self._wait()
            return None
        first, self._next = self._next, self._next + len(values)
        part = Slice(ORIGIN, values, lambda index: self._record(first, values, index))
        ends = Ends(self._next, self._round)
        return Batch(self.name, [part], len(values), part.size, ends)

    async def settle(self, batch: Batch) -> None:
        assert isinstance(batch.ends, Ends)
        if batch.ends.round == self._round:
            self._settled = batch.ends.position

    def pause(self, origins: frozenset[str]) -> None:
        paused = ORIGIN in origins
        if paused and not self._paused:
            self._round += 1
            self._next = self._settled
        self._paused = paused

    def lag(self) -> Lag:
        return {(ORIGIN, ""): len(self._records) - self._settled}

    async def keep_alive(self) -> None:
        """Nothing forgets us."""

    async def stop(self) -> None:
        """Nothing comes in by itself."""

    async def close(self) -> None:
        """Nothing to let go."""

    async def _wait(self) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(self._moment):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def _record(self, first: int, values: Sequence[bytes | None], index: int) -> Record:
        return Record(self.name, ORIGIN, str(first + index), values[index])
