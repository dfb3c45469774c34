"""Requests keep the rate of a server, and come together only up to the burst."""

import pytest

from invalidator.targets.edge.bucket import LONGEST, Bucket, retry_after


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def bucket(time: Time, rate: float, burst: int = 1) -> Bucket:
    return Bucket(rate, burst, clock=time.clock, sleep=time.sleep)


async def test_a_burst_comes_together_and_the_rest_at_the_rate() -> None:
    time = Time()
    tokens = bucket(time, 5.0, 25)
    for _ in range(25):
        await tokens.take()
    assert time.now == 100.0
    for _ in range(10):
        await tokens.take()
    assert time.now == pytest.approx(102.0)
    time.now += 3600  # a quiet hour fills it once
    for _ in range(26):
        await tokens.take()
    assert time.now == pytest.approx(102.0 + 3600 + 0.2)


async def test_without_a_rate_nothing_waits_but_for_what_the_server_says() -> None:
    time = Time()
    tokens = bucket(time, 0.0)
    for _ in range(1000):
        await tokens.take()
    assert time.now == 100.0
    tokens.close(30.0)
    tokens.close(10.0)  # the longer one counts
    await tokens.take()
    assert time.now == pytest.approx(130.0)
    tokens.close(10 * LONGEST)
    await tokens.take()
    assert time.now == pytest.approx(130.0 + LONGEST)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:18:00 GMT", 80.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_time(text: str, seconds: float) -> None:
    assert retry_after(text, now=1000.0) == seconds
