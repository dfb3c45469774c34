"""What a person wants to have read once more."""

from msgspec import Struct

from invalidator.errors import InvalidatorError
from invalidator.sources.stream.entries import Id


class Times(Struct, frozen=True):
    """All that was published between two times, in Unix milliseconds."""

    since: int
    until: int | None = None  # None: what there is when it begins


class Offsets(Struct, frozen=True):
    """Records of one partition of a Kafka topic."""

    topic: str
    partition: int
    first: int
    until: int | None = None  # the first that is not wanted; None: what there is


class Ids(Struct, frozen=True):
    """Entries of a stream."""

    first: Id
    until: Id | None = None  # the first that is not wanted; None: what there is


class NotThere(InvalidatorError):  # noqa: N818 - not a failure of ours
    """What is asked for is not kept, or never was."""


class Part(Struct, frozen=True):
    """Where one partition or stream is read, for a person."""

    name: str
    first: str
    until: str
    events: int | None  # about; None: nobody knows
