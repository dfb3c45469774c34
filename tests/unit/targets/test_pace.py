"""How fast names may go, and when somebody should look."""

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from invalidator.errors import Unavailable
from invalidator.redisclient.errors import Verdict
from invalidator.runtime import metrics
from invalidator.targets.pace import PacedKeys, Pacer
from invalidator.targets.redis.keys import Key


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Deleting:
    """Notes when what was deleted."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.calls: list[tuple[float, int]] = []

    async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
        self.calls.append((self.time.now, len(keys)))
        return len(keys), {}


def pacer(time: Time, per_second: int = 0, alarm: int = 0) -> Pacer:
    return Pacer(per_second, alarm, clock=time.clock, sleep=time.sleep)


async def test_keys_go_smoothly_and_no_faster_than_allowed() -> None:
    time = Time()
    deleting = Deleting(time)
    paced = PacedKeys(deleting, pacer(time, 1000))
    existed, failed = await paced.unlink([f"k{n}" for n in range(5000)])
    assert (existed, failed) == (5000, {})
    assert max(count for _, count in deleting.calls) == 100
    assert time.now - 100 == pytest.approx(4.9)
    for second in range(5):
        gone = sum(n for at, n in deleting.calls if second <= at - 99.999 < second + 1)
        assert gone == pytest.approx(1000, abs=100)


async def test_what_was_not_used_is_not_saved_up() -> None:
    time = Time()
    slow = pacer(time, 10)
    await slow.take(10)
    time.now += 3600
    await slow.take(10)
    assert time.slept == []
    await slow.take(1)
    assert sum(time.slept) == pytest.approx(1)


async def test_one_a_second_is_a_pace_too() -> None:
    time = Time()
    deleting = Deleting(time)
    await PacedKeys(deleting, pacer(time, 1)).unlink(["a", "b", "c"])
    assert [round(at - 100) for at, _ in deleting.calls] == [0, 1, 2]


async def test_while_names_wait_it_is_said_counted_and_shown_to_be_alive() -> None:
    time, beats = Time(), []
    slow = Pacer(1, progress=lambda: beats.append(time.now), clock=time.clock, sleep=time.sleep)
    before = metrics.BRAKED._value.get()
    with capture_logs() as said:
        await slow.take(100)
        await slow.take(1)
    assert metrics.BRAKED._value.get() - before == pytest.approx(100)
    assert len(beats) == 100, "each second"
    assert [line["event"] for line in said] == ["deletes-paced"] * 4, "twice a minute"


async def test_more_than_so_many_in_a_minute_raise_an_alarm_once_a_minute() -> None:
    time = Time()
    watched = pacer(time, alarm=100)
    before = metrics.ALARMS._value.get()
    with capture_logs() as said:
        watched.deleted(100)
        assert said == []
        for _ in range(50):
            watched.deleted(1)
    assert [(line["event"], line["in_a_minute"]) for line in said] == [("deletes-unusual", 101)]
    time.now += 61
    assert watched.last_minute() == 0
    watched.deleted(100)
    assert metrics.ALARMS._value.get() - before == 1
    watched.deleted(1)
    assert metrics.ALARMS._value.get() - before == 2


async def test_the_minute_slides() -> None:
    time = Time()
    watched = pacer(time, alarm=1)
    for _ in range(120):
        watched.deleted(1)
        time.now += 1
    assert watched.last_minute() == 59


async def test_what_a_server_that_is_away_did_not_take_raises_no_alarm() -> None:
    watched = pacer(Time(), alarm=100)

    class Away:
        async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
            raise Unavailable("cache", "is away")

    for _ in range(10):
        with pytest.raises(Unavailable):
            await PacedKeys(Away(), watched).unlink([f"k{n}" for n in range(50)])
    assert watched.last_minute() == 0


def test_without_a_limit_all_go_together() -> None:
    assert [*Pacer(alarm=1).portions(["a", "b"])] == [["a", "b"]]
    assert [*Pacer().portions([])] == []
