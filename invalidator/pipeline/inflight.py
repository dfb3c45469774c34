"""Bounds on the work in flight: what was read and is not settled yet."""

import asyncio

from invalidator.runtime import metrics


class InFlight:
    """Shared by all sources of a daemon, so that its memory has one bound."""

    def __init__(self, events: int, size: int) -> None:
        self._most_events = events
        self.most_bytes = size
        self._events = 0
        self.bytes = 0
        self._freed = asyncio.Event()

    def room(self) -> int:
        """Return how many events may be read now.

        Bytes are known only after a read, so that one batch may exceed their bound.
        """
        if self.bytes >= self.most_bytes:
            return 0
        return max(0, self._most_events - self._events)

    def add(self, events: int, size: int) -> None:
        """Count events, and bytes of whatever is kept in memory."""
        self._events += events
        self.bytes += size
        metrics.IN_FLIGHT.set(self._events)

    def remove(self, events: int, size: int) -> None:
        """Undo `add`."""
        self._events -= events
        self.bytes -= size
        metrics.IN_FLIGHT.set(self._events)
        self._freed.set()

    async def wait(self) -> None:
        """Wait until there is room. Room freed before the call counts, since no further wake-up
        may come."""
        while not self.room():
            self._freed.clear()
            await self._freed.wait()
