"""Bounds on the work in flight: what was read and is not settled yet."""

import asyncio

from invalidator.model import Batch
from invalidator.runtime import metrics


class InFlight:
    """Shared by all sources of a daemon, so that its memory has one bound."""

    def __init__(self, events: int, size: int) -> None:
        self._most_events = events
        self._most_bytes = size
        self._events = 0
        self._bytes = 0
        self.held = 0  # of these bytes: names that wait, see `later`
        self._freed = asyncio.Event()

    def room(self) -> int:
        """How many events may be read now. Bytes are known only after a read: one batch over."""
        if self._bytes >= self._most_bytes:
            return 0
        return max(0, self._most_events - self._events)

    def add(self, batch: Batch) -> None:
        self._events += batch.events
        self._bytes += batch.size
        metrics.IN_FLIGHT.set(self._events)

    def remove(self, batch: Batch) -> None:
        self._events -= batch.events
        self._bytes -= batch.size
        metrics.IN_FLIGHT.set(self._events)
        self._freed.set()

    def hold(self, size: int) -> None:
        """Names stay in memory though their events do not."""
        self._bytes += size
        self.held += size

    def release(self, size: int) -> None:
        self._bytes -= size
        self.held -= size
        self._freed.set()

    @property
    def crowded(self) -> bool:
        """Whether reading pauses because of what is held."""
        return self._bytes >= self._most_bytes and self.held >= self._most_bytes / 2

    async def wait(self) -> None:
        """Until there is room. What was freed before the call counts: nothing else may follow."""
        while not self.room():
            self._freed.clear()
            await self._freed.wait()
