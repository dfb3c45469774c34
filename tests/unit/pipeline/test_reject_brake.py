"""When a topic is paused because of its rules, and when it is resumed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from invalidator.model import Batch, Fault, Plan, Record, Rejection, Slice
from invalidator.pipeline.reject_brake import FIRST_LOOK, LAST_LOOK, ORIGINS, RejectBrake
from invalidator.rules import load
from invalidator.runtime.health import Part
from tests.memory_source import MemorySource

FAULT = Fault("missing-field", "the event has no id", "rule")
Counts = Sequence[tuple[int, int]]  # events and how many of them a rule rejects


class Source(MemorySource):
    """Knows which topics it was told to pause."""

    paused: frozenset[str] = frozenset()

    def pause(self, origins: frozenset[str]) -> None:
        self.paused = origins


class Bench:
    """A brake, its source and its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.source = Source()
        self.part = Part("rules", server=False)
        self.brake = RejectBrake(
            self.source, self.part, clock=lambda: self.now, now=lambda: 1000 + self.now
        )

    def judge(self, events: int, failed: int, *, origin: str = "orders", rules: str = "r") -> bool:
        return bool(self.brake.judge(*planned({origin: (events, failed)}), rules))


def planned(counts: dict[str, tuple[int, int]]) -> tuple[Batch, Plan]:
    slices, rejections = [], []
    for origin, (events, failed) in counts.items():
        record = Record("memory", origin, "", b"{}", time_ms=900_000)
        slices.append(Slice(origin, [b"{}"] * events, lambda _, r=record: r))  # type: ignore[misc]
        rejections += [Rejection(record, "t", (FAULT,))] * failed
    return Batch("memory", slices, 0, 0, None), Plan(rejections=rejections)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("batches", "pauses"),
    [
        ([(100, 51)], True),
        ([(100, 50)], False),
        ([(99, 99)], False),
        ([(99, 99), (1, 1)], True),
        ([(1, 1)] * 99, False),
        ([(1, 1)] * 100, True),
        ([(1_000_000, 0), (100, 51)], True),  # long good before
        ([(60, 60), (60, 0)], False),
        ([(60, 60), (60, 0), (60, 60)], False),  # half of the last 120
        ([(60, 60), (60, 0), (60, 60), (60, 60)], True),
        ([(50, 50), (0, 0), (50, 50)], True),
    ],
)
def test_more_than_half_of_at_least_a_hundred(bench: Bench, batches: Counts, pauses: bool) -> None:
    said = [bench.judge(*batch) for batch in batches]
    assert not any(said[:-1])
    assert said[-1] is pauses
    assert bench.source.paused == ({"orders"} if pauses else set())
    assert bool(bench.part.reason) is pauses


def test_topics_and_rules_are_judged_each_for_themselves(bench: Bench) -> None:
    assert not bench.judge(60, 60)
    assert not bench.judge(60, 60, origin="users")
    assert not bench.judge(60, 60, rules="s")
    assert not bench.judge(60, 60), "that was forgotten with the other rules"
    assert bench.judge(60, 60)
    assert bench.source.paused == {"orders"}


def test_only_the_topics_that_are_paused_are_left_out_of_a_batch(bench: Bench) -> None:
    batch, plan = planned({"orders": (100, 60), "users": (100, 40)})
    assert bench.brake.judge(batch, plan, "r") == {"orders"}
    assert bench.judge(10, 0), "it may have been read before the pause"
    assert not bench.judge(10, 0, origin="users")
    assert bench.brake.paused == {"orders": "rules r rejected 60 of 100 events"}
    bench.now = 5
    assert bench.brake.oldest == 105


def test_other_rules_resume_it_to_be_judged_by_them(bench: Bench) -> None:
    bench.judge(100, 100)
    bench.brake.review("r")
    assert bench.source.paused == {"orders"}
    with capture_logs() as logs:
        bench.brake.review("fixed")
    assert [entry["event"] for entry in logs] == ["topic-resumed"]
    assert bench.source.paused == set()
    assert not bench.part.reason
    assert bench.brake.oldest == 0
    assert bench.judge(100, 100, rules="worse")


def test_a_person_resumes_it_until_other_rules_come(bench: Bench) -> None:
    assert bench.brake.resume() == []
    bench.judge(100, 100)
    assert bench.brake.resume() == ["orders"]
    assert bench.source.paused == set()
    assert not bench.judge(1000, 1000)
    assert bench.judge(1000, 1000, rules="others")


def test_a_topic_of_which_nothing_more_can_be_kept_is_resumed_as_by_a_person(bench: Bench) -> None:
    bench.judge(100, 100)
    bench.source.overflowing = frozenset({"orders"})
    bench.brake.review("r")
    assert bench.source.paused == set()
    assert not bench.judge(1000, 1000)


def test_next_events_that_are_good_show_that_it_was_not_the_rules(bench: Bench) -> None:
    bench.judge(100, 100)
    bench.now = FIRST_LOOK - 1
    bench.brake.review("r")
    assert bench.source.paused == {"orders"}
    bench.now = FIRST_LOOK
    bench.brake.review("r")
    assert bench.source.paused == set(), "it is read"
    assert bench.brake.paused, "though not resumed"
    assert not bench.judge(0, 0), "events that no rule names prove nothing"
    assert bench.brake.paused
    assert not bench.judge(10, 5)
    assert not bench.brake.paused
    gauge = REGISTRY.get_sample_value("invalidator_braked_origins", {"source": "memory"})
    assert gauge == 0


def test_next_events_that_are_bad_put_off_the_next_look_for_longer_and_longer(
    bench: Bench,
) -> None:
    bench.judge(100, 100)
    waits = []
    for _ in range(9):
        began = bench.now
        while bench.source.paused:
            bench.now += 1
            bench.brake.review("r")
        waits.append(bench.now - began)
        assert bench.judge(10, 6)
        assert bench.source.paused == {"orders"}
    assert waits[:3] == [FIRST_LOOK, 2 * FIRST_LOOK, 4 * FIRST_LOOK]
    assert waits[-1] == LAST_LOOK


@pytest.mark.parametrize("forgets", [True, False])
def test_before_a_drain_only_a_source_that_forgets_has_its_topics_resumed(
    bench: Bench, forgets: bool
) -> None:
    bench.source.forgets = forgets
    bench.judge(100, 100)
    bench.brake.end()
    assert bench.source.paused == (set() if forgets else {"orders"})
    assert bench.judge(100, 100, rules="others", origin="users") is not forgets


def test_what_is_remembered_is_bounded(bench: Bench) -> None:
    for number in range(2 * ORIGINS):
        bench.judge(1, 1, origin=f"channel {number}")
    assert len(bench.brake._flowing) == ORIGINS


@pytest.mark.parametrize(("bad", "pauses"), [(4, False), (6, True)])
def test_the_events_of_a_record_that_is_a_list_count_one_by_one(
    bench: Bench, tmp_path: Path, bad: int, pauses: bool
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [{name: rule, on: t, invalidate: {keys: 'k:{id}'}}]")
    rules = load(path)
    events = [{"type": "t", "id": n} if n >= bad else {"type": "t"} for n in range(10)]
    values: list[bytes | None] = [json.dumps(events).encode()] * 12
    record = Record("memory", "orders", "", values[0], time_ms=900_000)
    batch = Batch("memory", [Slice("orders", values, lambda _: record)], 12, 0, None)
    ((batch, plan),) = rules.portions(
        batch, max_event_bytes=10_000, name_bytes=float("inf"), seconds=float("inf")
    )
    assert (batch.events, len(plan.rejections)) == (120, 12 * bad)
    assert bool(bench.brake.judge(batch, plan, "r")) is pauses
