"""A token bucket: how many requests a server is sent, and not before it wants more."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = 3600.0  # seconds that a server may have us wait
ROUNDING: Final = 1e-6  # of a token


class Bucket:
    """Tokens come at a rate, up to a burst; each request takes one."""

    def __init__(
        self,
        rate: float = 0.0,
        burst: int = 1,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """A rate of 0 is no limit."""
        self._rate = rate
        self._burst = max(1, burst)
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(self._burst)
        self._then = clock()
        self._closed_until = 0.0

    async def take(self) -> None:
        """Wait until a request may be sent."""
        while (wait := self._wait()) > 0:
            await self._sleep(wait)
        self._tokens -= 1

    def close(self, seconds: float) -> None:
        """Let no request out for a while: the server said so."""
        self._closed_until = max(self._closed_until, self._clock() + min(seconds, LONGEST))

    def _wait(self) -> float:
        now = self._clock()
        if now < self._closed_until:
            return self._closed_until - now
        if not self._rate:
            self._tokens = 1.0
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        missing = 1 - self._tokens
        return missing / self._rate if missing > ROUNDING else 0.0


def retry_after(text: str, now: float) -> float:
    """Return the seconds that a Retry-After header names; 0 if it cannot be read."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return 0.0
