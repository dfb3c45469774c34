"""What the brake holds of several topics, and lets go of each by itself."""

from collections.abc import Sequence

import pytest

from invalidator.model import Batch, Fault, Outcome, Plan, Record, Rejection, Slice
from invalidator.pipeline.holding import Holding
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.settlement import Applied
from invalidator.rules import RuleSet
from invalidator.runtime.health import Part
from tests.memory_source import MemorySource

RULES = RuleSet([], {}, "r")
FAULT = Fault("missing-field", "the event has no id", "rule")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(origin: str) -> Record:
    return Record("memory", origin, "", b"{}")


def batch_of(*origins: str) -> Batch:
    slices = [Slice(o, [b"{}"] * 100, lambda _, o=o: record(o)) for o in origins]  # type: ignore[misc]
    return Batch("memory", slices, 100 * len(origins), 200 * len(origins), None)


def sift(holding: Holding, batch: Batch, bad: Sequence[str] = ()) -> Applied | None:
    """What goes on of a batch of which rules reject all of these topics."""
    origins = {part.origin for part in batch.slices}
    rejections = [Rejection(record(o), "t", (FAULT,)) for o in bad if o in origins] * 100
    plan = Plan(rejections=rejections)
    applied = Applied(batch.ended(), rejections, RULES, Outcome(), 0, 0, 0.0, None)
    return holding.sift(batch, plan, applied)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def holding(clock: Clock) -> Holding:
    bound = InFlight(10_000, 1 << 20)
    return Holding(MemorySource(), Part("rules"), bound, 1 << 20, clock=clock)


def test_what_is_held_again_is_let_go_ahead_of_what_came_behind_it(holding: Holding) -> None:
    first, second = batch_of("a"), batch_of("a", "a")
    assert sift(holding, first, bad="a") is None
    others = [RuleSet([], {}, name) for name in "xy"]
    (again,) = holding.ready(others[0])
    assert sift(holding, second) is None, "it comes behind"
    assert sift(holding, again, bad="a") is None
    assert holding.bytes == first.size + second.size
    assert [batch.size for batch in holding.ready(others[1])] == [first.size, second.size]
    assert holding.bytes == 0


def let_go(holding: Holding) -> list[tuple[list[str], bool]]:
    """Topics of each batch; and whether it passes, whatever rules reject of it."""
    return [([p.origin for p in b.slices], b.pardoned) for b in holding.ready(RULES)]


def test_of_two_topics_that_came_together_one_is_let_go_and_the_other_stays(
    holding: Holding, clock: Clock
) -> None:
    assert sift(holding, batch_of("a", "b"), bad="ab") is None
    assert sorted(holding.braked) == ["a", "b"]
    clock.now = 61
    assert let_go(holding) == []
    assert sift(holding, batch_of("a")) is None
    assert let_go(holding) == [(["a"], True), (["a"], True)]
    assert list(holding.braked) == ["b"]
    assert holding.batches == 1
    assert holding.resume() == ["b"]
    assert let_go(holding) == [(["b"], True)]
    assert holding.batches == 0


def test_what_comes_behind_one_topic_waits_and_the_rest_of_its_batch_goes_on(
    holding: Holding,
) -> None:
    assert sift(holding, batch_of("a"), bad="a") is None
    holding.resume()
    rest = sift(holding, batch_of("a", "c"))
    assert rest is not None
    assert holding.batches == 2
    assert [origins for origins, _ in let_go(holding)] == [["a"], ["a"]]
