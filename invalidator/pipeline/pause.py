"""Whether events are let in. A person closes it, and everything that was read goes its way."""

import asyncio
import time
from collections.abc import Callable

import structlog
from msgspec import Struct

from invalidator.runtime import metrics
from invalidator.runtime.health import Health

log = structlog.get_logger("invalidator")


class Closed(Struct, frozen=True):
    """Since when, and what the person said."""

    since: float  # Unix time
    why: str


class Valve:
    """One for all sources of a daemon."""

    def __init__(self, health: Health, *, now: Callable[[], float] = time.time) -> None:
        self._part = health.part("intake")
        self._part.ready()
        self._now = now
        self._open = asyncio.Event()
        self._open.set()
        self.closed: Closed | None = None

    def close(self, why: str = "") -> None:
        """Again: for another reason."""
        self.closed = Closed(self.closed.since if self.closed else self._now(), why)
        self._open.clear()
        metrics.PAUSED.set(1)
        self._part.away(f"paused by a person{f': {why}' if why else ''}")

    def open(self) -> None:
        self.closed = None
        self._open.set()
        metrics.PAUSED.set(0)
        self._part.ready()

    async def wait(self) -> None:
        """Until it is open."""
        await self._open.wait()
