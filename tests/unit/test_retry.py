"""Waiting for a server that is away, without waiting."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from invalidator.errors import Rejected, Unavailable
from invalidator.runtime.health import REMIND_EVERY, Part, Pulse, getting_on
from invalidator.runtime.retry import Backoff, beating, until_available


class Clock:
    """Time passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def fails(*errors: Exception, answer: str = "done") -> Callable[[], Awaitable[str]]:
    left = list(errors)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return answer

    return attempt


AWAY = Unavailable("redis", "connection refused")


def test_delays_double_up_to_their_bound() -> None:
    backoff = Backoff(first=1.0, most=10.0)
    assert [backoff.delay(attempt, 0.0) for attempt in (1, 2, 3, 4, 5, 6)] == [
        *(0.5, 1.0, 2.0, 4.0, 5.0, 5.0)
    ]


def test_a_delay_lies_between_half_of_its_bound_and_all_of_it() -> None:
    backoff = Backoff(first=1.0, most=10.0)
    assert backoff.delay(3, 0.0) == 2.0
    assert backoff.delay(3, 0.5) == 3.0
    assert 3.99 < backoff.delay(3, 0.999) < 4.0


def test_a_great_many_tries_overflow_nothing() -> None:
    assert Backoff(first=0.1, most=5.0).delay(10**9, 0.0) == 2.5


async def test_it_tries_until_the_server_is_back_and_sleeps_longer_each_time() -> None:
    clock = Clock()
    part = Part("redis", clock)
    answer = await until_available(
        fails(AWAY, AWAY, AWAY),
        part,
        backoff=Backoff(first=1.0, most=100.0),
        sleep=clock.sleep,
        chance=lambda: 0.0,
    )
    assert answer == "done"
    assert clock.slept == [0.5, 1.0, 2.0]
    assert part.reason == ""


async def test_any_other_error_is_the_callers() -> None:
    clock = Clock()
    with pytest.raises(Rejected):
        await until_available(fails(Rejected("no")), Part("redis", clock), sleep=clock.sleep)
    assert clock.slept == []


async def test_a_long_wait_is_said_at_once_then_now_and_then_and_when_it_is_over() -> None:
    clock = Clock()
    minutes = 5
    tries = int(minutes * 60 / 5)
    with capture_logs() as logs:
        await until_available(
            fails(*[AWAY] * tries),
            Part("redis", clock),
            backoff=Backoff(first=10.0, most=10.0),
            sleep=clock.sleep,
            chance=lambda: 0.0,
        )
    waits = [log for log in logs if log["event"] == "waiting"]
    assert len(waits) == pytest.approx(minutes * 60 / REMIND_EVERY, abs=1)
    assert waits[0]["seconds"] == 0.0
    assert waits[-1]["reason"] == "redis: connection refused"
    assert [(log["event"], log["seconds"]) for log in logs][-1] == ("back", minutes * 60)


async def test_who_waits_for_work_beats_and_keeps_its_source_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("invalidator.runtime.retry.BEAT_EVERY", 0.01)
    clock = Clock()
    pulse = Pulse("intake", clock)
    arrived = asyncio.Event()
    beats: list[float] = []

    async def keep_alive() -> None:
        beats.append(pulse.last)
        clock.now += 1
        if len(beats) == 3:
            arrived.set()

    assert await asyncio.wait_for(beating(pulse, arrived.wait, keep_alive), 60)
    assert beats == [1000.0, 1001.0, 1002.0]


async def test_a_timeout_of_what_is_waited_for_is_a_failure_and_not_patience() -> None:
    with pytest.raises(TimeoutError, match="its own"):
        await asyncio.wait_for(beating(Pulse("x"), fails(TimeoutError("its own"))), 60)


async def test_each_try_to_reach_a_server_is_a_sign_of_life() -> None:
    clock = Clock()
    pulse, part = Pulse("outflow", clock), Part("redis", clock)
    began = clock.now
    await until_available(fails(AWAY, AWAY), part, pulse=pulse, sleep=clock.sleep)
    assert pulse.last == clock.now > began


async def test_a_part_of_a_long_try_is_a_sign_of_life_of_those_who_wait_and_of_nobody_else() -> (
    None
):
    clock = Clock()
    mine, other = Pulse("outflow", clock), Pulse("settlement", clock)

    async def long() -> None:
        await clock.sleep(1000)
        await asyncio.gather(asyncio.sleep(0), part_of_it())

    async def part_of_it() -> None:
        getting_on()

    await until_available(long, Part("redis", clock), pulse=mine)
    assert clock.now == mine.last > other.last
    at = clock.now
    await until_available(long, Part("redis", clock))
    assert mine.last == at
