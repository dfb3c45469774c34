"""Where events come from. Every source keeps one protocol and passes one contract suite."""

from collections.abc import Collection, Mapping
from typing import Protocol

from invalidator.model import Batch

Lag = Mapping[tuple[str, str], int]  # by topic, channel or stream, and by partition if it has any


class Source(Protocol):
    """Raw records in; positions back when everything about them is settled."""

    @property
    def name(self) -> str:
        """A fixed word for logs and metrics: "kafka", "pubsub", "memory"."""

    @property
    def forgets(self) -> bool:
        """Whether what is not settled is never given again."""

    async def open(self) -> None:
        """Connect. Raises Unavailable; may be called again after it did, or after `read` did."""

    async def read(self, limit: int) -> Batch | None:
        """The next records, `limit` at most; None when none came for a moment.

        Raises Unavailable when the source has to be opened again. Who calls it plans the batch
        right after, before it gives way to other tasks: what is noted about a batch while it is
        planned can be struck out by a task that is started here.
        """

    async def settle(self, batch: Batch) -> None:
        """Acknowledge a batch: all of it is applied or in the dead letters.

        Batches are settled in the order in which they were read. One whose records now belong
        to another member is passed over: they are read again there.
        """

    def lag(self) -> Lag:
        """How many events are not settled yet, from what is known: it asks nobody."""

    async def keep_alive(self) -> None:
        """Called now and then while nothing is read because the work in flight is at its bound."""

    async def stop(self) -> None:
        """Take in nothing new. What came in before can still be read.

        May be called while a read waits, which then gives what it has; and again.
        """

    async def close(self) -> None:
        """Acknowledge what was settled, and let go. Never raises for a server that is away."""


class EndsTogether:
    """For the brake (`holding`): batches whose ends need no division."""

    def set_aside(
        self, ends: object, origins: Collection[str], *, whole: bool
    ) -> tuple[object, object]:
        return ends, ends

    def take_back(self, ends: object) -> bool:
        return True
