"""The last minutes and the last day, for the page's plots. They are kept in memory and bounded."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from msgspec import Struct
from prometheus_client.metrics import MetricWrapperBase

from invalidator.runtime import metrics
from invalidator.runtime.metrics import counted

RECENT: Final = 180  # points, one for each look: 15 minutes
TOGETHER: Final = 60  # of them make one point of the day: 5 minutes
DAY: Final = 288
OUTCOMES: Final = ("applied", "rejected", "unmatched")

Lag = Callable[[], int | None]


class Counts(Struct):
    """Holds what was counted, since the start or within some seconds."""

    outcomes: list[float]  # events by outcome, in the order of OUTCOMES
    deleted: float  # keys that existed
    dead: float
    ages: list[float]  # events by age when they were applied: a number for each bucket

    def since(self, before: "Counts") -> "Counts":
        return Counts(
            _apart(self.outcomes, before.outcomes),
            self.deleted - before.deleted,
            self.dead - before.dead,
            _apart(self.ages, before.ages),
        )

    def plus(self, other: "Counts") -> "Counts":
        return Counts(
            [one + two for one, two in zip(self.outcomes, other.outcomes, strict=True)],
            self.deleted + other.deleted,
            self.dead + other.dead,
            [one + two for one, two in zip(self.ages, other.ages, strict=True)],
        )


class Point(Struct, frozen=True):
    at: float  # Unix time of its end
    seconds: float
    counts: Counts
    lag: int | None


class History:
    """Looks at the counters now and then."""

    def __init__(
        self,
        lag: Lag,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._lag = lag
        self._clock = clock
        self._now = now
        self._before = clock(), counts()
        self._recent: deque[Point] = deque(maxlen=RECENT)
        self._day: deque[Point] = deque(maxlen=DAY)
        self._unmerged: list[Point] = []

    def look(self) -> None:
        """Add a point."""
        began, before = self._before
        self._before = ended, current = self._clock(), counts()
        if ended <= began:
            return
        point = Point(self._now(), ended - began, current.since(before), self._lag())
        self._recent.append(point)
        self._unmerged.append(point)
        if len(self._unmerged) >= TOGETHER:
            self._day.append(_merged(self._unmerged))
            self._unmerged.clear()

    def plain(self) -> dict[str, Any]:
        """Return both as columns."""
        day = [*self._day, *([_merged(self._unmerged)] if self._unmerged else [])]
        return {"format": 1, "recent": _columns(self._recent), "day": _columns(day)}


def counts() -> Counts:
    """Return what was counted since the start."""
    outcomes = dict.fromkeys(OUTCOMES, 0.0)
    for (_, _, outcome), value in counted(metrics.EVENTS).items():
        outcomes[outcome] += value
    return Counts(
        [*outcomes.values()],
        sum(counted(metrics.EXISTED).values()),
        sum(counted(metrics.DEAD).values()),
        buckets(metrics.EVENT_TO_APPLIED_SECONDS),
    )


def buckets(histogram: MetricWrapperBase) -> list[float]:
    """Return how many observations each bucket has, over all labels."""
    upper = [*metrics.LATENCY, float("inf")]
    found = dict.fromkeys(upper, 0.0)
    for family in histogram.collect():
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                found[float(sample.labels["le"])] += sample.value
    return [after - before for before, after in pairwise([0.0, *found.values()])]


def quantile(ages: Sequence[float], share: float) -> float | None:
    """Return the age below which that share lies, about; None where nothing was observed."""
    left = share * sum(ages)
    if not left:
        return None
    lower = 0.0
    for upper, count in zip(metrics.LATENCY, ages, strict=False):
        if left <= count:
            return lower + (upper - lower) * left / count
        left, lower = left - count, upper
    return lower


def _apart(after: Iterable[float], before: Iterable[float]) -> list[float]:
    return [one - two for one, two in zip(after, before, strict=True)]


def _merged(points: Sequence[Point]) -> Point:
    total = points[0].counts
    for point in points[1:]:
        total = total.plus(point.counts)
    last = points[-1]
    return Point(last.at, sum(point.seconds for point in points), total, last.lag)


def _columns(points: Iterable[Point]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"at": [], **{name: [] for name in OUTCOMES}}
    columns |= {"deleted": [], "dead": [], "lag": [], "p50": [], "p99": []}
    for point in points:
        found = point.counts
        per_second = [round(count / point.seconds, 3) for count in found.outcomes]
        values = {
            "at": round(point.at),
            **dict(zip(OUTCOMES, per_second, strict=True)),
            "deleted": round(found.deleted / point.seconds, 3),
            "dead": found.dead,
            "lag": point.lag,
            "p50": _rounded(quantile(found.ages, 0.5)),
            "p99": _rounded(quantile(found.ages, 0.99)),
        }
        for name, value in values.items():
            columns[name].append(value)
    return columns


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 5)
