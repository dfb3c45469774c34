"""What an applied batch still waits for, and the order in which batches are settled.

Once its names are applied, a batch shrinks to the positions that end it and the tickets it holds:
a sweep that began after it was read, a second pass. Later batches are applied meanwhile; they are
settled in the order in which they were read.
"""

import asyncio
from collections.abc import Iterable

from msgspec import Struct

from invalidator.model import Batch, Failure, Fault, Outcome, Record, Rejection
from invalidator.pipeline.later import Waited
from invalidator.rules import RuleSet

MOST_WAITING = 10_000  # applied batches; then applying waits, too


class Applied(Struct, frozen=True):
    """A batch on its way to its acknowledgement."""

    batch: Batch  # without its records
    rejections: list[Rejection]
    rules: RuleSet  # those it was planned with
    outcome: Outcome
    unmatched: int
    names: int
    seconds: float  # from planned to applied
    waits: "asyncio.Task[Waited] | None"  # None: there is nothing to wait for

    def held(self) -> Batch:
        """What still takes memory: rejected events, until they lie in the dead letters."""
        size = sum(len(rejection.record.raw or b"") for rejection in self.rejections)
        return Batch(self.batch.source, [], len(self.rejections), size, None)


class Line:
    """Applied batches, first come, first settled."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Applied | None] = asyncio.Queue(MOST_WAITING)

    async def join(self, applied: Applied) -> None:
        await self._queue.put(applied)

    async def end(self) -> None:
        """Nobody joins any more."""
        await self._queue.put(None)

    async def next(self) -> Applied | None:
        return await self._queue.get()


def left_alone(source: str, failures: Iterable[Failure]) -> list[Rejection]:
    """Dead letters for names that no event can be found for: they say what may be stale."""
    return [
        Rejection(
            Record(source, "", "", None),
            None,
            (
                Fault(
                    failure.error,
                    f"{failure.name!r} of cache {failure.cache!r} may be stale: {failure.message}",
                    None,
                    failure.kind,
                ),
            ),
        )
        for failure in failures
    ]
