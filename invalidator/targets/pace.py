"""A limit on blast radius: how fast names are deleted, and an alarm when very many are.

A wrong rule, or a producer that floods, empties a cache within seconds, and then every request goes
to the database behind it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Protocol

import structlog

from invalidator.redisclient.errors import Verdict
from invalidator.runtime import metrics
from invalidator.targets.redis.keys import Key

log = structlog.get_logger("invalidator")

SMOOTH: Final = 0.1  # seconds of the rate that go together
MOMENT: Final = 1.0  # seconds between two notes of progress while names wait
LOG_EVERY: Final = 30.0  # seconds between two lines about names that wait
MINUTE: Final = 60.0


class Pacer:
    """The pace of all caches of a daemon."""

    def __init__(
        self,
        per_second: int = 0,
        alarm: int = 0,
        *,
        progress: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """0 is no limit. `progress` is called repeatedly while names wait."""
        self._per_second = per_second
        self._alarm = alarm
        self.counts = bool(per_second or alarm)
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._logged_at = clock() - LOG_EVERY
        self._alarmed_at = clock() - MINUTE
        self._seconds: deque[tuple[float, int]] = deque()  # names deleted, second by second
        self._last_minute = 0

    def portions(self, names: Sequence[Key]) -> Iterator[Sequence[Key]]:
        """Divide names into portions that are small enough for a smooth pace."""
        size = int(self._per_second * SMOOTH) if self._per_second else len(names)
        for at in range(0, len(names), max(1, size)):
            yield names[at : at + max(1, size)]

    async def take(self, count: int) -> float:
        """Wait until so many more may be deleted; return the seconds waited."""
        began = self._clock()
        if self._per_second:
            due = max(self._free_at, began)
            self._free_at = due + count / self._per_second
            await self._until(due)
        return self._clock() - began

    def last_minute(self) -> int:
        """Return how many were deleted in the last minute."""
        while self._seconds and self._seconds[0][0] <= self._clock() - MINUTE:
            self._last_minute -= self._seconds.popleft()[1]
        return self._last_minute

    async def _until(self, due: float) -> None:
        while (left := due - self._clock()) > 0:
            self._log_seldom(left)
            self._progress()
            began = self._clock()
            await self._sleep(min(left, MOMENT))
            metrics.BRAKED.inc(max(0.0, self._clock() - began))

    def _log_seldom(self, left: float) -> None:
        if self._clock() - self._logged_at >= LOG_EVERY:
            self._logged_at = self._clock()
            log.warning(
                "deletes-paced", max_deletes_per_second=self._per_second, seconds=round(left, 2)
            )

    def deleted(self, count: int) -> None:
        """Count deleted names. Those that an unavailable server did not take do not count."""
        now = self._clock()
        if self._seconds and now - self._seconds[-1][0] < 1:
            began, before = self._seconds.pop()
            self._seconds.append((began, before + count))
        else:
            self._seconds.append((now, count))
        self._last_minute += count
        total = self.last_minute()
        if self._alarm and total > self._alarm and now - self._alarmed_at >= MINUTE:
            self._alarmed_at = now
            metrics.ALARMS.inc()
            log.error("deletes-unusual", in_a_minute=total, alarm_deletes=self._alarm)


class Unlinking(Protocol):
    """Deletes keys."""

    async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]: ...


class PacedKeys:
    """UNLINK at the pace; all that deletes keys (events, tags, sweeps) uses it."""

    def __init__(self, keys: Unlinking, pacer: Pacer) -> None:
        self.waited = 0.0  # seconds
        self._keys = keys
        self._pacer = pacer

    async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
        if not self._pacer.counts:
            return await self._keys.unlink(keys)
        existed = 0
        failed: dict[Key, Verdict] = {}
        for portion in self._pacer.portions(keys):
            self.waited += await self._pacer.take(len(portion))
            found, refused = await self._keys.unlink(portion)
            self._pacer.deleted(len(portion))
            existed += found
            failed |= refused
        return existed, failed
