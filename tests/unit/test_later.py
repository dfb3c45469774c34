"""What applied batches wait for, and who hears of what could not be done."""

from collections.abc import Mapping, Sequence

from invalidator.model import Failure, Names, Outcome, Plan
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.later import Later
from invalidator.rules import RuleSet

RULES = RuleSet([], {}, "r")
FAILURE = Failure("default", "patterns", "orders:*", "noperm", "it may not be deleted")


class Sweep:
    """One that several batches wait for."""

    def __init__(self) -> None:
        self._failures = [FAILURE]

    async def wait(self) -> Sequence[Failure]:
        return self._failures


async def nothing(names: Mapping[str, Names], rules: RuleSet) -> Outcome:
    return Outcome()


def waiting() -> Later:
    return Later("memory", nothing, InFlight(10, 10), lambda: 0.0, forgets=False)


async def test_of_a_sweep_that_many_wait_for_the_first_one_tells() -> None:
    later, sweep = waiting(), Outcome(sweeps=[Sweep()])
    tasks = [later.begin(sweep, Plan(), RULES) for _ in range(2)]
    assert [(await task).failures for task in tasks if task] == [[FAILURE], []]


async def test_one_whose_batch_is_held_leaves_it_to_the_next_to_tell() -> None:
    """What nobody hears would be stale, and no dead letter would say so."""
    later, sweep = waiting(), Outcome(sweeps=[Sweep()])
    held, other = (later.begin(sweep, Plan(), RULES) for _ in range(2))
    later.unheard(held)
    assert held is not None
    assert other is not None
    assert (await held).failures == []
    assert (await other).failures == [FAILURE]
