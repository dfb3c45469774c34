"""A gap: a time in which a source may have missed events for good.

No source can tell which events these were, so rules are told that there was a gap: a rule for
`invalidator.gap` may raise a version or drop a tag. Every source reports its gaps here, and puts
the result of `take` into the `own` slices of its next batch.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
import structlog
from msgspec import Struct

from invalidator.model import GAP, Record, Slice
from invalidator.runtime import metrics

log = structlog.get_logger("invalidator")

START = "start"  # the one gap that is nothing unusual
WENT_BACK = "cache-went-back"  # a cache lost more than can be read again


class Gap(Struct):
    """One gap, while it can still grow."""

    source: str
    origins: tuple[str, ...]
    cause: str
    since: float | None  # by the clock; None: unknown
    events: int | None = None  # how many are lost; None: unknown

    def lose(self, events: int) -> None:
        """Count that many more lost events."""
        self.events = (self.events or 0) + events
        metrics.MISSED.labels(self.source).inc(events)


class Gaps:
    """One source's gaps: logged and counted immediately, and kept until its next batch."""

    def __init__(
        self,
        source: str,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._now = now
        self._clock = clock
        self._reported: dict[tuple[str, tuple[str, ...]], Gap] = {}

    def __bool__(self) -> bool:
        return bool(self._reported)

    def report(
        self,
        cause: str,
        origins: Iterable[str],
        *,
        since: float | None = None,
        events: int | None = None,
        **more: Any,
    ) -> Gap:
        """Report a gap in these channels, topics or streams.

        `since` is when it began, by the clock; `events` how many are lost, where that is known;
        `more` is for the log. A gap that is reported twice before it is taken is one gap.
        """
        told = Gap(self._source, tuple(origins), cause, since)
        metrics.GAPS.labels(self._source, cause).inc()
        more |= {"seconds": self._seconds(told), "lost": events, "channels": [*told.origins]}
        known = {name: value for name, value in more.items() if value is not None}
        if cause == START:
            log.info("source-started", source=self._source, channels=[*told.origins])
        else:
            log.warning("source-gap", source=self._source, cause=cause, **known)
        gap = self._reported.setdefault((cause, told.origins), told)
        if events is not None:
            gap.lose(events)
        return gap

    def take(self) -> list[Slice]:
        """Return an event of each gap and origin, since a rule may be for one origin only."""
        told, self._reported = self._reported, {}
        return [self._slice(gap, origin) for gap in told.values() for origin in gap.origins]

    def _slice(self, gap: Gap, origin: str) -> Slice:
        now = self._now()
        data = {
            "source": self._source,
            "channel": origin,
            "channels": gap.origins,
            "cause": gap.cause,
            "seconds": self._seconds(gap),  # how long it lasted at most
            "events": gap.events,
        }
        written = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        event = {"type": GAP, "data": data, "id": str(uuid4()), "time": written}
        raw = orjson.dumps(event)
        record = Record(self._source, origin, "", raw, time_ms=int(now * 1000))
        return Slice(origin, [raw], lambda _: record)

    def _seconds(self, gap: Gap) -> float | None:
        return None if gap.since is None else round(self._clock() - gap.since, 3)
