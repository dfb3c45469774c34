"""Pausing by a person: no event is read, and everything that was read is completed."""

import asyncio
import time
from collections.abc import Callable

import structlog
from msgspec import Struct

from invalidator.runtime import metrics
from invalidator.runtime.health import Health

log = structlog.get_logger("invalidator")


class Paused(Struct, frozen=True):
    """A pause that somebody asked for."""

    since: float  # Unix time
    why: str
    who: str = ""  # known of a pause of all daemons


class Pause:
    """The switch for all sources of a daemon: its own, and one that all daemons share."""

    def __init__(self, health: Health, *, now: Callable[[], float] = time.time) -> None:
        self._part = health.part("intake", server=False)
        self._part.ready()
        self._now = now
        self._reading = asyncio.Event()
        self._reading.set()
        self._ended = False
        self.own: Paused | None = None
        self.shared: Paused | None = None  # of all daemons with this state Redis

    @property
    def paused(self) -> Paused | None:
        """Return the pause that is in force; None while events are read."""
        return self.shared or self.own

    def pause(self, why: str = "") -> None:
        """Pause reading; a second call changes the reason."""
        self.own = Paused(self.own.since if self.own else self._now(), why)
        self._apply()

    def resume(self) -> None:
        """End this daemon's own pause."""
        self.own = None
        self._apply()

    def follow(self, shared: Paused | None) -> None:
        """Follow the switch that all daemons share."""
        if shared != self.shared and not self._ended:
            self.shared = shared
            if shared:
                log.warning("reading-paused", why=shared.why, who=shared.who, all=True)
            else:
                log.info("reading-resumed", all=True)
            self._apply()

    def end(self) -> None:
        """Pause no more: the daemon ends, and completes what it has read."""
        self._ended = True
        self.own = self.shared = None
        self._apply()

    async def wait(self) -> None:
        """Wait until reading is not paused."""
        await self._reading.wait()

    def _apply(self) -> None:
        paused = self.paused
        metrics.PAUSED.set(bool(paused))
        if paused is None:
            self._reading.set()
            self._part.ready()
            return
        self._reading.clear()
        everywhere = f"all daemons are paused by {paused.who or 'a person'}"
        said = everywhere if self.shared else "paused by a person"
        self._part.not_ready(f"{said}{f': {paused.why}' if paused.why else ''}")
