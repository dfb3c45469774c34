"""Waiting: for a server that is away, or for work, and giving signs of life meanwhile."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.runtime import metrics
from invalidator.runtime.health import WORKING, Part, Pulse

T = TypeVar("T")
BEAT_EVERY = 5.0  # seconds


async def beating(
    pulse: Pulse,
    wait: Callable[[], Awaitable[T]],
    keep_alive: Callable[[], Awaitable[None]] | None = None,
) -> T:
    """Wait, alive; `wait` is cancelled and called again, and between two calls `keep_alive` is."""
    while True:
        pulse.beat()
        patience = asyncio.timeout(BEAT_EVERY)
        try:
            async with patience:
                return await wait()
        except TimeoutError:
            if not patience.expired():  # it is a failure of what was waited for
                raise
        if keep_alive:
            await keep_alive()


class Backoff(Struct, frozen=True):
    """Exponential, with jitter, so that many daemons do not come back in step."""

    first: float = 0.05  # seconds
    most: float = 5.0

    def delay(self, attempt: int, chance: float) -> float:
        """How long to wait before try `attempt` (from 1); `chance` lies in [0, 1)."""
        ceiling: float = min(self.most, self.first * 2 ** min(attempt - 1, 32))
        return ceiling * (0.5 + chance / 2)


USUAL = Backoff()


async def rest(attempt: int, stopping: asyncio.Event) -> None:
    """Wait before try `attempt`; a stop ends the wait."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(USUAL.delay(attempt, random.random())):  # noqa: S311 - no secret
            await stopping.wait()


async def until_available(
    attempt: Callable[[], Awaitable[T]],
    part: Part,
    *,
    who: str = "",
    pulse: Pulse | None = None,
    backoff: Backoff = USUAL,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
) -> T:
    """Try for as long as the server is away. Any other error is the caller's.

    Waiting for a server known to be away is a sign of life: each try beats. `who` tells those
    apart who use the same part. What takes long within a try beats by `getting_on`.
    """
    tries = 0
    WORKING.set(pulse)
    while True:
        if pulse:
            pulse.beat()
        try:
            result = await attempt()
        except Unavailable as error:
            tries += 1
            metrics.RETRIES.labels(part.name, error.code or "away").inc()
            part.away(str(error), who)
            await sleep(backoff.delay(tries, chance()))
        else:
            part.ready(who)
            return result
