"""What flows through the pipeline. No I/O here.

The hot path handles whole batches: lists of raw bytes and sets of names. An object for one
event (`Record`, `Event`) is made only when somebody has to look at that event.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct, field

DEFAULT_CACHE = "default"
GAP = "invalidator.gap"  # a source may have missed events for good
OWN_EVENTS = frozenset({GAP})  # types that we tell ourselves; no wildcard matches them


class Record(Struct, frozen=True):
    """One raw record, whole. Made for rejections and explanations only."""

    source: str  # "kafka", "pubsub", "memory"
    origin: str  # the topic, channel or stream it came from
    position: str  # where it lies there, for a person: "3@1042"; empty where there is none
    raw: bytes | None  # exactly as received; None is a Kafka tombstone
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    time_ms: int | None = None  # when it was published, Unix milliseconds


class Fault(Struct, frozen=True):
    """One reason why an event, or one rule for it, was rejected."""

    error: str  # a short stable word: "not-json", "missing-field", "noperm"
    message: str
    rule: str | None = None  # None: the event itself could not be read
    what: str = ""  # the template, condition or operation


class Slice(Struct, frozen=True):
    """Records of one partition, channel or stream, in their order."""

    origin: str
    values: list[bytes | None]
    record: Callable[[int], Record]  # the i-th of them, whole
    # Their headers, where any has some. Without it only the first record is asked whether its
    # type stands in headers.
    headers: Sequence[Sequence[tuple[str, bytes]]] = ()
    # Why these are dead letters and must not even be decoded: one that ended every process that
    # planned it, one whose bytes the source could not give.
    refused: Fault | None = None

    @property
    def size(self) -> int:
        """Bytes of all values."""
        try:
            return sum(map(len, self.values))  # type: ignore[arg-type]  # a tombstone raises
        except TypeError:
            return sum(len(value) for value in self.values if value is not None)


class Batch(Struct, frozen=True):
    """What one read of a source gave, and the positions that end it."""

    source: str
    slices: list[Slice]
    events: int
    size: int  # bytes of all values
    ends: object  # what settling acknowledges; only the source that wrote it reads it
    own: Sequence[Slice] = ()  # events that the source tells itself (a gap); they do not count
    again: bool = False  # the brake held it: it was planned before
    pardoned: bool = False  # what rules reject of it are dead letters, however much it is

    def ended(self) -> "Batch":
        """The same batch without its records: all that is needed once it is applied."""
        return Batch(self.source, [], self.events, self.size, self.ends)

    def records(self) -> Iterator[Record]:
        """All that rules may look at."""
        for part in (*self.slices, *self.own):
            if part.refused is None:
                for index in range(len(part.values)):
                    yield part.record(index)


class Event(Struct, frozen=True):
    """One decoded event, as rules see it. Made for rejections and explanations only."""

    type: str
    data: dict[str, Any]
    id: str | None
    record: Record


Kind = Literal["keys", "patterns", "tags", "versions"]
KINDS: tuple[Kind, ...] = ("keys", "patterns", "tags", "versions")


class Names(Struct):
    """What one cache has to forget: deduplicated names, complete with the cache's prefix."""

    keys: set[str] = field(default_factory=set)
    patterns: set[str] = field(default_factory=set)  # Redis globs; values in them are escaped
    tags: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)

    def count(self) -> int:
        return len(self.keys) + len(self.patterns) + len(self.tags) + len(self.versions)


class Rejection(Struct, frozen=True):
    """One event for the dead letters, with every reason."""

    record: Record
    type: str | None  # None: it could not be told
    faults: tuple[Fault, ...]


class Note(Struct):
    """Something about a rule that an operator should see, though no event is lost by it."""

    count: int
    message: str  # of the first


class Plan(Struct):
    """What a batch asks of the caches."""

    caches: dict[str, Names] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    unmatched: int = 0  # events that no rule names
    unmatched_of: dict[str, int] = field(default_factory=dict)  # the same by topic or channel
    # Names to be applied once more, so many seconds later; they are in `caches` too.
    repeats: dict[float, dict[str, Names]] = field(default_factory=dict)
    # By rule and a stable word: "condition-failed", "on-reject".
    notes: dict[tuple[str, str], Note] = field(default_factory=dict)

    @property
    def names(self) -> int:
        """How many there are, second passes apart."""
        return sum(names.count() for names in self.caches.values())


class Cause(Struct, frozen=True):
    """On whose account names are forgotten: it is announced with them."""

    source: str  # "kafka", "pubsub"; "purge" for a person
    rules: str = ""  # the hash of those that gave the names; empty for a person
    who: str = ""  # a person, as user@host
    why: str = ""  # what they say


class Failure(Struct, frozen=True):
    """A name that the store can never apply."""

    cache: str
    kind: Kind
    name: str
    error: str
    message: str


class Ticket(Protocol):
    """Something that an applied batch still waits for."""

    async def wait(self) -> Sequence[Failure]:
        """Until it is over; what could not be done."""


class Outcome(Struct):
    """What applying names came to."""

    existed: int = 0  # keys that were really there
    failures: list[Failure] = field(default_factory=list)
    sweeps: list[Ticket] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.existed += other.existed
        self.failures += other.failures
        self.sweeps += other.sweeps
