"""Waiting for a server that is unavailable."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.runtime import metrics
from invalidator.runtime.health import Part

T = TypeVar("T")


class Backoff(Struct, frozen=True):
    """Exponential, with jitter, so that many daemons do not return in step."""

    first: float = 0.05  # seconds
    most: float = 5.0

    def delay(self, attempt: int, chance: float) -> float:
        """Return how long to wait before an attempt, counted from 1; `chance` is in [0, 1)."""
        ceiling: float = min(self.most, self.first * 2 ** min(attempt - 1, 32))
        return ceiling * (0.5 + chance / 2)


USUAL = Backoff()


async def rest(attempt: int, stopping: asyncio.Event) -> None:
    """Wait before an attempt; a stop ends the wait."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(USUAL.delay(attempt, random.random())):  # noqa: S311 - no secret
            await stopping.wait()


async def until_available(
    attempt: Callable[[], Awaitable[T]],
    part: Part,
    *,
    who: str = "",
    backoff: Backoff = USUAL,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
) -> T:
    """Retry for as long as the server is unavailable. Any other error is the caller's.

    `who` distinguishes those who use the same part.
    """
    tries = 0
    while True:
        try:
            result = await attempt()
        except Unavailable as error:
            tries += 1
            metrics.RETRIES.labels(part.name, error.code or "unavailable").inc()
            part.not_ready(str(error), who)
            await sleep(backoff.delay(tries, chance()))
        else:
            if part.reason:
                part.ready(who)
            return result
