"""Applied batches that wait for one sweep: one of them reports what it could not delete."""

from collections.abc import Mapping, Sequence

from invalidator.model import Failure, Names, Outcome, Plan
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.tickets import Tickets
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


def waiting() -> Tickets:
    return Tickets("memory", nothing, InFlight(10, 10), lambda: 0.0, forgets=False)


async def test_of_a_sweep_that_several_batches_wait_for_the_first_one_reports() -> None:
    tickets, sweep = waiting(), Outcome(sweeps=[Sweep()])
    begun = [tickets.begin(sweep, Plan(), RULES) for _ in range(2)]
    assert [(await waits.task).failures for waits in begun] == [[FAILURE], []]
