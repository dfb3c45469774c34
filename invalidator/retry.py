"""Waiting for a server that is away. Clock, sleep and chance are arguments."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from invalidator.errors import Unavailable
from invalidator.health import Part

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with jitter, so that many daemons do not come back in step."""

    first: float = 0.05  # seconds
    most: float = 5.0

    def delay(self, attempt: int, chance: float) -> float:
        """How long to wait before try `attempt` (from 1); `chance` lies in [0, 1)."""
        ceiling: float = min(self.most, self.first * 2 ** min(attempt - 1, 32))
        return ceiling * (0.5 + chance / 2)


async def until_available(
    attempt: Callable[[], Awaitable[T]],
    part: Part,
    *,
    backoff: Backoff = Backoff(),
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
) -> T:
    """Try for as long as the server is away. Any other error is the caller's."""
    tries = 0
    while True:
        try:
            result = await attempt()
        except Unavailable as error:
            tries += 1
            part.away(str(error))
            await sleep(backoff.delay(tries, chance()))
        else:
            part.ready()
            return result
