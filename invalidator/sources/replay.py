"""The events that a person asks to have read again."""

from msgspec import Struct

from invalidator.errors import InvalidatorError
from invalidator.sources.stream.entries import Id


class Times(Struct, frozen=True):
    """Everything that was published between two times, in Unix milliseconds."""

    since: int
    until: int | None = None  # None: up to what exists when it begins


class Offsets(Struct, frozen=True):
    """Records of one partition of a Kafka topic."""

    topic: str
    partition: int
    first: int
    until: int | None = None  # the first that is left out; None: up to what exists


class Ids(Struct, frozen=True):
    """Entries of a stream."""

    first: Id
    until: Id | None = None  # the first that is left out; None: up to what exists


class Newest(Struct, frozen=True):
    """The newest events of each partition or stream."""

    count: int


class NotThere(InvalidatorError):  # noqa: N818 - not a failure of ours
    """The events that were asked for do not exist, or no longer."""


class Part(Struct, frozen=True):
    """The bounds between which one partition or stream is read, for a person."""

    name: str
    first: str
    until: str
    events: int | None  # estimated; None: unknown
