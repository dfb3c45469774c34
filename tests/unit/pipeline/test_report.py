"""How old events are when they are applied and settled, by the times of their records."""

from prometheus_client import REGISTRY

from invalidator.model import Batch, Outcome, Plan, Record, Slice
from invalidator.pipeline.report import Reporter
from invalidator.pipeline.samples import Sample
from invalidator.pipeline.work import Applied, Seen, Work
from invalidator.rules import RuleSet

RULES = RuleSet([], {}, "r")


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


def reporter(clock: Clock) -> Reporter:
    return Reporter("ages", narrate=False, clock=clock, now=clock)


def planned(report: Reporter, *parts: Slice) -> Work:
    batch = batch_of(*parts)
    seen = report.planned(batch, Sample(), report.now())
    return Work(batch, RULES, Plan(), 0, Sample(), seen, 0.0)


def settle(report: Reporter, batch: Batch, seen: Seen) -> None:
    applied = Applied(batch.ended(), RULES, [], Outcome(), 0, 0, 0.0, None, seen)
    report.settled(applied, [])


def test_first_and_last_event_of_each_slice_count() -> None:
    clock = Clock()
    report = reporter(clock)
    count, total = (observed("event_to_applied", what) for what in ("count", "sum"))
    work = planned(report, slice_of(990, 1, 995), slice_of(998))
    clock.now = 1002.0
    report.applied(work)
    assert observed("event_to_applied", "count") - count == 3  # 12, 7 and 4 s
    assert observed("event_to_applied", "sum") - total == 23


def test_the_oldest_is_that_of_all_batches_that_are_not_settled() -> None:
    clock = Clock()
    report = reporter(clock)
    assert report.oldest == 0
    old, new = planned(report, slice_of(900, 950)), planned(report, slice_of(None))
    assert report.oldest == 100
    settle(report, old.batch, old.seen)
    clock.now = 1001.0
    assert report.oldest == 1  # without a time: since it was read
    settle(report, new.batch, new.seen)
    assert report.oldest == 0


def test_settling_counts_the_oldest_event_of_a_batch_and_nothing_for_one_without_events() -> None:
    report = reporter(Clock())
    count, total = (observed("event_to_settled", what) for what in ("count", "sum"))
    for work in (planned(report, slice_of(990, 980)), planned(report)):
        report.applied(work)
        settle(report, work.batch, work.seen)
    assert observed("event_to_settled", "count") - count == 1
    assert observed("event_to_settled", "sum") - total == 20


def test_a_clock_that_runs_ahead_makes_no_negative_age() -> None:
    report = reporter(Clock())
    total = observed("event_to_applied", "sum")
    work = planned(report, slice_of(2000))
    assert report.oldest == 0
    report.applied(work)
    assert observed("event_to_applied", "sum") == total
