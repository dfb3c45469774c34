"""Where events come from: one protocol for all sources, with one contract suite."""

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from invalidator.model import Batch


class Start(Struct, frozen=True):
    """The position at which a group without one begins."""

    at: Literal["latest", "earliest", "ago"]
    seconds: float = 0.0  # how far back, for "ago"

    @classmethod
    def of(cls, setting: str | float) -> "Start":
        """Return the start for a setting: a word, or seconds below zero."""
        match setting:
            case "latest" | "earliest":
                return cls(setting)
            case _:
                return cls("ago", -float(setting))


Lag = Mapping[tuple[str, str], int]  # by topic, channel or stream, and by partition if it has any


class Source(Protocol):
    """Gives batches of raw records, and takes their positions back once they are settled."""

    @property
    def name(self) -> str:
        """Return a fixed word for logs and metrics, such as "kafka" or "pubsub"."""

    @property
    def forgets(self) -> bool:
        """Return whether records that were read and not settled are lost for good."""

    async def open(self) -> None:
        """Connect. Raises Unavailable; may be called again after that, or after a failed read."""

    async def read(self, limit: int) -> Batch | None:
        """Return the next records, at most `limit`; None if none came for a moment.

        Raises Unavailable when the source has to be opened again.
        """

    async def settle(self, batch: Batch) -> None:
        """Acknowledge a batch: each record is applied or a dead letter.

        Batches are settled in the order in which they were read. Records that now belong to
        another member, or that were paused since they were read, stay unacknowledged.
        """

    def pause(self, origins: frozenset[str]) -> None:
        """Pause exactly these topics, channels or streams; resume all others.

        What was read of an origin but is not settled when it is paused is passed over by `settle`:
        it stays unacknowledged. When the origin is resumed, it is read again from its settled
        position.
        """

    @property
    def overflowing(self) -> frozenset[str]:
        """Return the paused origins of which nothing more can be kept: they must be resumed."""

    def lag(self) -> Lag:
        """Return how many events are not settled, as far as is known without asking a server."""

    async def keep_alive(self) -> None:
        """Keep the connection. Called now and then while too much is in flight to read more."""

    async def stop(self) -> None:
        """Take in nothing new; records that came in before can still be read.

        May be called while a read waits, which then returns what it has, and more than once.
        """

    async def close(self) -> None:
        """Acknowledge what was settled and disconnect. Never raises for an unavailable server."""


class Groupless:
    """A source without positions and without a brake: what rules reject becomes dead letters."""

    forgets = False
    overflowing: frozenset[str] = frozenset()
    stopped = False

    async def settle(self, batch: Batch) -> None:
        """Do nothing: nobody keeps a position."""

    def pause(self, origins: frozenset[str]) -> None:
        """Do nothing: it has no brake."""

    def lag(self) -> Lag:
        return {}  # unknown

    async def keep_alive(self) -> None:
        """Do nothing: there is no session."""

    async def stop(self) -> None:
        self.stopped = True
