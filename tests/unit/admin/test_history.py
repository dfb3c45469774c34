"""The points behind the page's plots."""

import math

import pytest

from invalidator.admin import history
from invalidator.admin.history import Counts, History, quantile
from invalidator.runtime.metrics import LATENCY


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def counts(events: float, lag: float = 0.0) -> Counts:
    return Counts([events, 2 * events, 0.0], events, lag, [events] + [0.0] * len(LATENCY))


@pytest.fixture
def past(monkeypatch: pytest.MonkeyPatch) -> tuple[History, Clock]:
    """Return a history of a source that settles ten events a second, and its clock."""
    clock = Clock()
    monkeypatch.setattr(history, "counts", lambda: counts(10 * clock.time))
    return History(lambda: 7, clock=clock, now=clock), clock


def look(past: tuple[History, Clock], times: int) -> dict[str, dict[str, list[float]]]:
    for _ in range(times):
        past[1].time += 5
        past[0].look()
    return past[0].plain()


def test_a_point_has_rates_of_its_own_seconds(past: tuple[History, Clock]) -> None:
    recent = look(past, 2)["recent"]
    assert recent["at"] == [105, 110]
    assert recent["applied"] == [10.0, 10.0]
    assert recent["rejected"] == [20.0, 20.0]
    assert (recent["deleted"], recent["lag"]) == ([10.0, 10.0], [7, 7])
    assert recent["p50"] == [LATENCY[0] / 2] * 2


def test_many_points_make_one_of_the_day_and_the_oldest_go(past: tuple[History, Clock]) -> None:
    found = look(past, history.RECENT + 30)
    assert len(found["recent"]["at"]) == history.RECENT
    assert found["day"]["at"][:2] == [100 + 5 * history.TOGETHER, 100 + 10 * history.TOGETHER]
    assert set(found["day"]["applied"]) == {10.0}
    assert len(found["day"]["at"]) == 4, "the last one is not complete"


def test_a_quantile_lies_within_its_bucket() -> None:
    ages = [0.0] * (len(LATENCY) + 1)
    assert quantile(ages, 0.5) is None
    ages[3] = 10.0
    assert quantile(ages, 0.5) == pytest.approx((LATENCY[2] + LATENCY[3]) / 2)
    ages[-1] = 1000.0
    assert quantile(ages, 0.99) == LATENCY[-1], "more is not known"
    assert not math.isinf(quantile(ages, 0.99) or 0)
