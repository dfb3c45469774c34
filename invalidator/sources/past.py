"""What a person wants to have read once more."""

from dataclasses import dataclass

from invalidator.errors import InvalidatorError
from invalidator.sources.stream_entries import Id


@dataclass(frozen=True, slots=True)
class Times:
    """All that was published between two times, in Unix milliseconds."""

    since: int
    until: int | None = None  # None: what there is when it begins


@dataclass(frozen=True, slots=True)
class Offsets:
    """Records of one partition of a Kafka topic."""

    topic: str
    partition: int
    first: int
    until: int | None = None  # the first that is not wanted; None: what there is


@dataclass(frozen=True, slots=True)
class Ids:
    """Entries of a stream."""

    first: Id
    until: Id | None = None  # the first that is not wanted; None: what there is


class NotThere(InvalidatorError):  # noqa: N818 - not a failure of ours
    """What is asked for is not kept, or never was."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where one partition or stream is read, for a person."""

    name: str
    first: str
    until: str
    events: int | None  # about; None: nobody knows
