"""How old events are when they are applied and settled, by the times of their records."""

from prometheus_client import REGISTRY

from invalidator.model import Batch, Record, Slice
from invalidator.pipeline.ages import Ages


def slice_of(*seconds: float | None) -> Slice:
    times = [None if at is None else int(at * 1000) for at in seconds]
    return Slice(
        "t", [b"{}"] * len(times), lambda at: Record("s", "t", "", b"{}", time_ms=times[at])
    )


def batch_of(*parts: Slice) -> Batch:
    return Batch("ages", list(parts), sum(len(part.values) for part in parts), 0, None)


def observed(name: str, what: str) -> float:
    found = REGISTRY.get_sample_value(f"invalidator_{name}_seconds_{what}", {"source": "ages"})
    return found or 0.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_first_and_last_event_of_each_slice_count() -> None:
    clock = Clock()
    ages = Ages("ages", now=clock)
    count, total = (observed("event_to_applied", what) for what in ("count", "sum"))
    ages.read(batch_of(slice_of(990, 1, 995), slice_of(998)))
    clock.now = 1002.0
    ages.applied()
    assert observed("event_to_applied", "count") - count == 3  # 12, 7 and 4 s
    assert observed("event_to_applied", "sum") - total == 23


def test_the_oldest_is_that_of_all_batches_that_are_not_settled() -> None:
    clock = Clock()
    ages = Ages("ages", now=clock)
    assert ages.oldest() == 0
    old, new = batch_of(slice_of(900, 950)), batch_of(slice_of(None))
    ages.read(old)
    ages.read(new)
    assert ages.oldest() == 100
    ages.settled(old)
    clock.now = 1001.0
    assert ages.oldest() == 1  # without a time: since it was read
    ages.settled(new)
    assert ages.oldest() == 0


def test_settling_counts_the_oldest_event_of_a_batch_and_nothing_for_one_without_events() -> None:
    ages = Ages("ages", now=Clock())
    count, total = (observed("event_to_settled", what) for what in ("count", "sum"))
    for batch in (batch_of(slice_of(990, 980)), batch_of()):
        ages.read(batch)
        ages.applied()
        ages.settled(batch)
    assert observed("event_to_settled", "count") - count == 1
    assert observed("event_to_settled", "sum") - total == 20


def test_a_clock_that_runs_ahead_makes_no_negative_age() -> None:
    ages = Ages("ages", now=Clock())
    total = observed("event_to_applied", "sum")
    ages.read(batch_of(slice_of(2000)))
    assert ages.oldest() == 0
    ages.applied()
    assert observed("event_to_applied", "sum") == total
