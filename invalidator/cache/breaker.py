"""A breaker: while Redis does not answer, nobody waits for it."""

import random
import threading
import time
from collections.abc import Callable
from typing import Final

from redis.exceptions import ClusterDownError, MaxConnectionsError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as TimedOut

from invalidator.cache.errors import CacheUnavailable

FAILURES: Final = 5  # in a row; a timeout alone is enough
SHORTEST, LONGEST = 1.0, 5.0  # seconds for which it is open
PROBE: Final = 1.0  # seconds for the one who looks whether Redis is back


class Breaker:
    """Stands around each command: `with breaker:` raises CacheUnavailable where Redis fails."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.failures = 0  # in a row
        self.open_until = 0.0  # 0: closed
        self._lock = threading.Lock()  # so that one thread alone looks

    def __enter__(self) -> None:
        if self.open_until and not self.allows():
            raise CacheUnavailable("Redis has not answered, and is not asked for a moment")

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None:
            if self.failures:
                self.worked()
        elif isinstance(error, (RedisError, OSError)):
            self.failed(error)
            raise CacheUnavailable(f"{type(error).__name__}: {error}") from error

    def allows(self) -> bool:
        """Return whether Redis may be asked; while it is open, one at a time may look."""
        with self._lock:
            if not self.open_until:
                return True
            now = self._clock()
            if now < self.open_until:
                return False
            self.open_until = now + PROBE
        return True

    def worked(self) -> None:
        self.failures = 0
        self.open_until = 0.0

    def failed(self, error: BaseException) -> None:
        """Note a failure; what Redis says about one key is none of its own."""
        if isinstance(error, MaxConnectionsError) or "No connection available" in str(error):
            return None  # our own pool is used up
        if isinstance(error, ResponseError) and not isinstance(error, ClusterDownError):
            return self.worked()
        if not isinstance(error, (NoConnection, TimedOut, ClusterDownError, OSError)):
            return None
        self.failures += 1
        timed_out = isinstance(error, (TimedOut, TimeoutError))
        if timed_out or self.failures >= FAILURES or self.open_until:
            pause = random.uniform(SHORTEST, LONGEST)  # noqa: S311 - spreads the probes
            self.open_until = self._clock() + pause
        return None
