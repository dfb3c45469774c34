"""How many events the next batch may have, by what the last one took."""

import pytest

from invalidator.pipeline.inflight import Limits

LIMITS = Limits(events=20_000, event_bytes=1000, names=100_000, seconds=0.5)


@pytest.mark.parametrize(
    ("events", "names", "seconds", "most"),
    [
        (20_000, 20_000, 0.02, 20_000),
        (20_000, 20_000, 0.0, 20_000),  # of a clock that stood still
        (1000, 1_000_000, 0.1, 100),
        (4000, 10, 400.0, 5),
        (1, 10, 2.0, 1),
        (5, 5, 0.0001, 20_000),  # and as many as ever when they are quick again
        (0, 3, 0.01, 20_000),  # events of the source's own
    ],
)
def test_events_of_many_names_or_much_time_come_in_smaller_batches(
    events: int, names: int, seconds: float, most: int
) -> None:
    assert LIMITS.fitting(events, names, seconds) == most


def test_at_the_brakes_pace_a_batch_takes_seconds() -> None:
    limits = Limits(20_000, 1000)
    assert limits.paced(0) == limits
    assert (limits.paced(100).events, limits.paced(100).names) == (1000, 1000)
    assert (limits.paced(5000).events, limits.paced(5000).names) == (20_000, 50_000)
