"""How far a partition or stream was settled, and when: where to go back to, should a cache forget.

An era is a time in which no cache forgot anything. It ends with a failover, or with a restart; what
the cache then still remembers is a matter of time, and the trail leads from that to a position. An
event may be applied long after it was published, so the events' own times would not do.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

import structlog
from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.runtime import metrics

log = structlog.get_logger("invalidator")

WENT_BACK = "cache-went-back"  # a gap: a cache forgot more than is read again
ASK_AGAIN = 1.0  # seconds, while a cache is away
STEP = 1.0  # seconds between two points at least
MOST_POINTS = 200  # then the older half is thinned out: long ago, exactness is not needed
AGES = (0.0, 70.0, 150.0, 400.0, 1200.0, math.inf)  # of those that travel with a commit
BEGINNING = 0.0  # before it nothing was applied at all

P = TypeVar("P", bound=Any)  # a position: an offset, an id
Point = tuple[float, P]


class Eras(Protocol):
    """What is known of the caches' memory."""

    @property
    def current(self) -> str:
        """The era of now, as a text that may be kept; empty where nobody watches."""

    @property
    def why(self) -> str:
        """Why the last one ended, for a person."""

    @property
    def most(self) -> float:
        """Seconds that are read again at most."""

    async def since(self, era: str) -> float:
        """All that was settled before, in that era, is remembered; inf: nothing is forgotten;
        -inf: nobody knows. Raises Unavailable."""


class Timeless:
    """Caches that never forget: for those who do not watch."""

    current = why = ""
    most = 0.0

    async def since(self, era: str) -> float:
        return math.inf


TIMELESS: Eras = Timeless()


class Trail(Generic[P]):
    """Points in time, and up to which position all was settled then."""

    def __init__(self, span: float, points: Iterable[Point[P]]) -> None:
        """`span` is how far back from its end it leads, in seconds."""
        self._span = span
        self._points = sorted(points)

    @property
    def first(self) -> P:
        """Nobody goes back beyond it."""
        return self._points[0][1]

    def anew(self, position: P) -> "Trail[P]":
        """Of something else, that begins there."""
        return Trail(self._span, [(BEGINNING, position)])

    def note(self, now: float, position: P) -> None:
        last = self._points[-1][0]
        if now - last < STEP:
            return  # the older one is behind it, which is safe
        self._points.append((now, position))
        while len(self._points) > 1 and self._points[1][0] <= now - self._span:
            del self._points[0]
        if len(self._points) > MOST_POINTS:
            del self._points[1 : MOST_POINTS // 2 : 2]

    def back(self, moment: float) -> tuple[P, bool]:
        """Go back to where it was at that time; and whether it leads back so far."""
        kept = [point for point in self._points if point[0] <= max(moment, BEGINNING)]
        self._points = kept or self._points[:1]
        return self._points[-1][1], bool(kept)

    def few(self) -> list[Point[P]]:
        """Some points, the further apart the older they are."""
        end = self._points[-1][0]
        found = {self._at(end - age) for age in AGES}
        return sorted(found)

    def _at(self, moment: float) -> Point[P]:
        earlier = [point for point in self._points if point[0] <= moment]
        return earlier[-1] if earlier else self._points[0]


class Stand(Struct, Generic[P]):
    """Where one partition or stream stands with the caches."""

    era: str  # in which all that was settled is known to be applied
    trail: Trail[P]
    goal: P | None = None  # what is read again ends here
    coming: str = ""  # the era of which that is true then

    def behind(self, current: str) -> bool:
        return current != (self.era if self.goal is None else self.coming)

    def go_back(self, since: float, current: str, reading: P) -> "Back[P] | None":
        """Where to read again from; None: nothing has to be.

        `reading` is what would be read next: all before it may have been applied in vain.
        """
        goal = reading if self.goal is None else max(self.goal, reading)
        if self.goal is None and since == math.inf:
            self.era = current
            return None
        position, complete = self.trail.back(since)
        if position == goal:
            self.goal, self.era = None, current
            return None
        self.goal, self.coming = goal, current
        return Back(position, goal, complete)

    def settle(self, position: P, now: float, *, again: bool) -> bool:
        """All before is settled; `again`: it was read since we went back. Whether that is over."""
        if self.goal is None:
            self.trail.note(now, position)
            return False
        if not again or position < self.goal:
            return False
        self.goal, self.era = None, self.coming
        self.trail.note(now, position)
        return True


class Back(Struct, Generic[P], frozen=True):
    """What is read again."""

    position: P
    goal: P
    complete: bool  # all that may be forgotten


class Memory:
    """One source's view of the eras."""

    def __init__(
        self, eras: Eras, source: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.eras = eras
        self._source = source
        self._clock = clock
        self._ask_at = 0.0

    async def since(self, earlier: Collection[str]) -> Mapping[str, float]:
        """What the caches remember of these eras; nothing, while they cannot be asked."""
        current = self.eras.current
        if not earlier or not current or self._clock() < self._ask_at:
            return {}
        try:
            found = {era: await self.eras.since(era) for era in earlier}
        except Unavailable as error:
            self._ask_at = self._clock() + ASK_AGAIN
            log.debug("memory-unknown", source=self._source, reason=str(error))
            return {}
        return found if self.eras.current == current else {}

    def tell(self, since: Collection[float], again: Mapping[str, str]) -> None:
        """`again`: by the name of what is read again, from where to where."""
        if not again:
            return
        metrics.REWINDS.labels(self._source).inc()
        why, known = self.eras.why, _show(min(since, default=-math.inf))
        log.warning("read-again", source=self._source, since=known, why=why, again=dict(again))


def _show(moment: float) -> str:
    if not math.isfinite(moment):
        return "unknown"
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
