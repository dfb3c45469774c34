"""Rates over the last minute, from counters that are read now and then."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import Counter

from invalidator.runtime import metrics
from invalidator.runtime.metrics import counted

EVERY: Final = 5.0  # seconds between two looks
SPAN: Final = 60.0

Counts = Mapping[tuple[str, ...], float]
_WATCHED: Final = (metrics.EVENTS, metrics.RULE_EVENTS, metrics.EXISTED)


class Rates:
    """Computes rates per second, over the last minute or the time since the start."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: deque[tuple[float, Mapping[Counter, Counts]]] = deque()
        self.look()

    def look(self) -> None:
        now = self._clock()
        self._looks.append((now, {counter: counted(counter) for counter in _WATCHED}))
        while len(self._looks) > 1 and self._looks[1][0] <= now - SPAN:
            self._looks.popleft()

    def of(self, counter: Counter) -> dict[tuple[str, ...], float]:
        began, before = self._looks[0]
        seconds = self._clock() - began
        then = before[counter]
        if seconds <= 0:
            return dict.fromkeys(counted(counter), 0.0)
        return {
            labels: (value - then.get(labels, 0.0)) / seconds
            for labels, value in counted(counter).items()
        }


async def look_regularly(*looks: Callable[[], None]) -> None:
    """Look at the counters until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        for look in looks:
            look()
