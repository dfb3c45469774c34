"""How old events are when they are applied, when they are settled, and the oldest that is not.

One source's batches are applied and settled in the order in which they are read.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from invalidator.model import Batch, Slice
from invalidator.runtime import metrics

MILLISECOND: Final = 1e-3


class Ages:
    """Of one source's events, by the times of their records."""

    def __init__(self, source: str, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._read: deque[list[float]] = deque()  # of each batch that is not applied
        self._oldest: deque[float] = deque()  # of each batch that is not settled
        self._applied = metrics.EVENT_TO_APPLIED_SECONDS.labels(source)
        self._settled = metrics.EVENT_TO_SETTLED_SECONDS.labels(source)

    def read(self, batch: Batch) -> None:
        now = self._now()
        published = _published(batch, now)
        self._read.append(published)
        self._oldest.append(min(published, default=now))

    def applied(self) -> None:
        now = self._now()
        for published in self._read.popleft():
            self._applied.observe(max(0.0, now - published))

    def settled(self, batch: Batch) -> None:
        published = self._oldest.popleft()
        if batch.events:
            self._settled.observe(max(0.0, self._now() - published))

    def held(self) -> None:
        """The batch that was applied last is not settled, but read again."""
        del self._oldest[len(self._oldest) - len(self._read) - 1]

    def oldest(self) -> float:
        """Seconds; 0 where all is settled."""
        return max(0.0, self._now() - min(self._oldest)) if self._oldest else 0.0


def oldest(batch: Batch, now: float) -> float:
    """When the oldest of its events was published, as far as the first and last ones tell."""
    return min(_published(batch, now), default=now)


def _published(batch: Batch, now: float) -> list[float]:
    return [time for part in batch.slices for time in _times(part, now)]


def _times(part: Slice, now: float) -> Iterator[float]:
    """Of its first and its last event; a record without a time counts as published now."""
    last = len(part.values) - 1
    for index in {0, last} if last >= 0 else ():
        found = part.record(index).time_ms
        yield now if found is None else found * MILLISECOND
