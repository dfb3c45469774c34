"""A batch on its way: what it needs rides on it, from its read to its acknowledgement."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from invalidator.model import Batch, Outcome, Plan, Rejection
from invalidator.pipeline.samples import Sample
from invalidator.pipeline.tickets import Waits
from invalidator.rules import RuleSet

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Seen(Struct, frozen=True, eq=False):
    """Facts that are reported once a batch is applied and settled."""

    published: Sequence[float]  # when some of its events were; Unix time
    types: Mapping[str, float]  # how many events of each, in a sample
    span: "Span | None"
    read_at: float = 0.0  # Unix time

    @property
    def oldest(self) -> float:
        """Return when the oldest of its events was published."""
        return min(self.published, default=float("inf"))


class Work(Struct, frozen=True):
    """A batch that is planned."""

    batch: Batch
    rules: RuleSet  # those it was planned with
    plan: Plan
    names: int
    sample: Sample
    seen: Seen
    planned_at: float


class Applied(Struct, frozen=True):
    """A batch that is applied, on its way to its acknowledgement."""

    batch: Batch  # without its records
    rules: RuleSet
    rejections: list[Rejection]
    outcome: Outcome
    unmatched: int
    names: int
    seconds: float  # from planned to applied
    waits: Waits | None  # None: there is nothing to wait for
    seen: Seen

    @property
    def size(self) -> int:
        """Return the bytes of rejected events, which stay until they are dead letters."""
        return sum(rejection.record.size for rejection in self.rejections)
