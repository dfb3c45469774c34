"""A source in memory: what tests feed the pipeline with, and replays."""

import asyncio
from collections.abc import Collection, Sequence

from invalidator.model import Batch, Record, Slice
from invalidator.sources.source import EndsTogether, Lag

ORIGIN = "memory"


class MemorySource(EndsTogether):
    """Keeps what is not settled, and gives it again when it is opened anew."""

    name = "memory"
    forgets = False

    def __init__(self, moment: float = 0.05) -> None:
        self._moment = moment  # seconds that an empty read waits
        self._records: list[bytes | None] = []
        self._next = 0
        self._settled = 0
        self._arrived = asyncio.Event()
        self._paused = False

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
        return Batch(self.name, [part], len(values), part.size, self._next)

    async def settle(self, batch: Batch) -> None:
        assert isinstance(batch.ends, int)
        self._settled = batch.ends

    def pause(self, origins: Collection[str]) -> None:
        self._paused = bool(origins)

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
