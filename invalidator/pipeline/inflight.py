"""Bounds on the work in flight: what was read and is not settled yet."""

import asyncio

from msgspec import Struct
from msgspec.structs import replace

from invalidator.runtime import metrics
from invalidator.settings import Settings


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


PACED = 10.0  # seconds, about, that the names of a batch may take at the brake's pace


class Limits(Struct, frozen=True):
    """Bounds on one batch."""

    events: int
    event_bytes: int  # a larger event is rejected
    names: int = 100_000  # about: it is applied again after a failure
    name_bytes: int = 8 << 20  # of a portion of it, about
    seconds: float = 0.1  # of planning a portion, about: nothing else runs meanwhile

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits that the settings ask for."""
        batch = settings.batch
        return cls(batch.max_events, batch.max_event_bytes).paced(settings.max_deletes_per_second)

    def paced(self, per_second: int) -> "Limits":
        """Return limits for names that are deleted at a pace (0: at any).

        A batch is applied anew after a failure: one that took an hour might never be done.
        """
        if not per_second:
            return self
        most = max(1, int(per_second * PACED))
        return replace(self, events=min(self.events, most), names=min(self.names, most))

    def fitting(self, events: int, names: int) -> int:
        """Return how many events the next batch may have, by the names of the last one.

        A batch without events of others says nothing about that.
        """
        if not events:
            return self.events
        return max(1, min(self.events, events * self.names // max(names, 1)))
