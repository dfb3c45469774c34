"""Pausing by a person: no event is read, and everything that was read is completed."""

import asyncio
import time
from collections.abc import Callable

from msgspec import Struct

from invalidator.runtime import metrics
from invalidator.runtime.health import Health


class Paused(Struct, frozen=True):
    """A pause that somebody asked for."""

    since: float  # Unix time
    why: str


class Pause:
    """The switch for all sources of a daemon."""

    def __init__(self, health: Health, *, now: Callable[[], float] = time.time) -> None:
        self._part = health.part("intake", server=False)
        self._part.ready()
        self._now = now
        self._reading = asyncio.Event()
        self._reading.set()
        self.paused: Paused | None = None

    def pause(self, why: str = "") -> None:
        """Pause reading; a second call changes the reason."""
        self.paused = Paused(self.paused.since if self.paused else self._now(), why)
        self._reading.clear()
        metrics.PAUSED.set(1)
        self._part.not_ready(f"paused by a person{f': {why}' if why else ''}")

    def resume(self) -> None:
        """Resume reading."""
        self.paused = None
        self._reading.set()
        metrics.PAUSED.set(0)
        self._part.ready()

    async def wait(self) -> None:
        """Wait until reading is not paused."""
        await self._reading.wait()
