"""How many events the next batch may have, by what the last one took."""

import pytest

from invalidator.pipeline.inflight import Limits

LIMITS = Limits(events=20_000, event_bytes=1000, names=100_000)


@pytest.mark.parametrize(
    ("events", "names", "most"),
    [
        (20_000, 20_000, 20_000),
        (1000, 1_000_000, 100),
        (1, 1_000_000, 1),
        (5, 5, 20_000),  # and as many as ever when they are small again
        (0, 3, 20_000),  # events of the source's own
    ],
)
def test_events_of_many_names_come_in_smaller_batches(events: int, names: int, most: int) -> None:
    assert LIMITS.fitting(events, names) == most


def test_at_the_brakes_pace_a_batch_takes_seconds() -> None:
    limits = Limits(20_000, 1000)
    assert limits.paced(0) == limits
    assert (limits.paced(100).events, limits.paced(100).names) == (1000, 1000)
    assert (limits.paced(5000).events, limits.paced(5000).names) == (20_000, 50_000)
