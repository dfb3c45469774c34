"""The data that flows through the pipeline. No I/O here.

The hot path handles whole batches: lists of raw bytes and sets of names. An object for one
event (`Record`, `Event`) is made only when somebody has to look at that event.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

DEFAULT_CACHE = "default"
GAP = "invalidator.gap"  # a source may have missed events for good
OWN_EVENTS = frozenset({GAP})  # types of the daemon's own events; no wildcard matches them


class Record(Struct, frozen=True):
    """A raw record, whole. It is made for rejections and explanations only."""

    source: str  # "kafka", "pubsub", "memory"
    origin: str  # the topic, channel or stream it came from
    position: str  # its place there, for a person: "3@1042"; empty where there is none
    raw: bytes | None  # exactly as received; None is a Kafka tombstone
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    time_ms: int | None = None  # when it was published, Unix milliseconds

    @property
    def size(self) -> int:
        """Return the bytes of its value, key and headers."""
        return len(self.raw or b"") + len(self.key or b"") + size_of_headers(self.headers)


class Fault(Struct, frozen=True):
    """A reason why an event, or a rule for it, was rejected."""

    error: str  # a short stable word: "not-json", "missing-field", "noperm"
    message: str
    rule: str | None = None  # None: the event itself could not be read
    what: str = ""  # the template, condition or operation


class Slice(Struct, frozen=True):
    """Records of one partition, channel or stream, in order."""

    origin: str
    values: list[bytes | None]
    record: Callable[[int], Record]  # makes the i-th of them
    # Their headers, where any record has some. Without it, only the first record is asked whether
    # headers give the type.
    headers: Sequence[Sequence[tuple[str, bytes]]] = ()
    # Why these are dead letters that must not even be decoded, such as bytes that the source could
    # not read.
    refused: Fault | None = None
    keys: int = 0  # bytes of all their keys, about

    @property
    def size(self) -> int:
        """Return the bytes of all values, keys and headers."""
        size = self.keys + sum(map(size_of_headers, self.headers))
        try:
            return size + sum(map(len, self.values))  # type: ignore[arg-type]  # a tombstone raises
        except TypeError:
            return size + sum(len(value) for value in self.values if value is not None)

    def between(self, first: int, end: int) -> "Slice":
        """Return some of its records, from the first up to the end."""
        if not first and end == len(self.values):
            return self
        keys = self.keys * (end - first) // len(self.values)
        return Slice(
            self.origin,
            self.values[first:end],
            lambda index: self.record(first + index),
            self.headers[first:end],
            self.refused,
            keys,
        )


class Result(Struct, eq=False):
    """The result of a batch, for a source that answers whoever sent it."""

    caches: dict[str, "Names"] = field(default_factory=dict)  # that were applied
    existed: int = 0  # keys that really existed
    rejections: list["Rejection"] = field(default_factory=list)

    def add(self, caches: Mapping[str, "Names"], existed: int) -> None:
        """Add what a portion of the batch came to."""
        self.existed += existed
        for cache, names in caches.items():
            self.caches.setdefault(cache, Names()).update(names)


class Batch(Struct, frozen=True):
    """Records that one read of a source returned, and the positions that end them."""

    source: str
    slices: list[Slice]
    events: int
    size: int  # bytes of all slices
    ends: object  # what settling acknowledges; only the source that wrote it reads it
    own: Sequence[Slice] = ()  # events of the daemon's own (a gap); they do not count
    # The rest of what was read follows, and is settled with it.
    continued: bool = False
    result: Result | None = None  # filled in if the source asks for it

    @classmethod
    def of(
        cls, source: str, slices: list[Slice], ends: object, own: Sequence[Slice] = ()
    ) -> "Batch":
        """Return a batch of these slices."""
        return cls(source, slices, *_extent(slices), ends, own)

    def portion(
        self, slices: list[Slice], own: Sequence[Slice], *, continued: bool = False
    ) -> "Batch":
        """Return a part of the batch."""
        events, size = _extent(slices)
        return replace(self, slices=slices, own=own, events=events, size=size, continued=continued)

    def without(self, origins: Collection[str]) -> "Batch":
        """Return the batch without the records of these topics, channels or streams."""
        slices = [part for part in self.slices if part.origin not in origins]
        return self.portion(slices, self.own, continued=self.continued)

    def ended(self) -> "Batch":
        """Return the batch without its records: nothing else is needed once it is applied."""
        return replace(self, slices=[], own=())

    def records(self) -> Iterator[Record]:
        """Yield all records that rules may look at."""
        for part in (*self.slices, *self.own):
            if part.refused is None:
                for index in range(len(part.values)):
                    yield part.record(index)


def _extent(slices: Sequence[Slice]) -> tuple[int, int]:
    """Return how many events and bytes there are."""
    return sum(len(part.values) for part in slices), sum(part.size for part in slices)


def size_of_headers(headers: Sequence[tuple[str, bytes]]) -> int:
    """Return the bytes of one record's headers, where names have one byte a letter."""
    return sum(len(name) + len(value) for name, value in headers)


class Event(Struct, frozen=True):
    """A decoded event, as rules see it. It is made for rejections and explanations only."""

    type: str
    data: dict[str, Any]
    id: str | None
    record: Record


Kind = Literal["keys", "patterns", "tags", "versions"]
KINDS: tuple[Kind, ...] = ("keys", "patterns", "tags", "versions")


class Names(Struct):
    """The names that one cache has to forget, deduplicated and with the cache's prefix."""

    keys: set[str] = field(default_factory=set)
    patterns: set[str] = field(default_factory=set)  # Redis globs; values in them are escaped
    tags: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)

    def count(self) -> int:
        """Return how many names of all kinds there are."""
        return len(self.keys) + len(self.patterns) + len(self.tags) + len(self.versions)

    def update(self, other: "Names") -> None:
        """Add the names of another."""
        for kind in KINDS:
            getattr(self, kind).update(getattr(other, kind))

    def without(self, failures: "Sequence[Failure]") -> "Names":
        """Return the names that did not fail."""
        if not failures:
            return self
        left = Names(set(self.keys), set(self.patterns), set(self.tags), set(self.versions))
        for failure in failures:
            getattr(left, failure.kind).discard(failure.name)
        return left


class Rejection(Struct, frozen=True):
    """An event for the dead letters, with every reason."""

    record: Record
    type: str | None  # None: it is not known
    faults: tuple[Fault, ...]


class Note(Struct):
    """Something about a rule that an operator should see, though no event is lost by it."""

    count: int
    message: str  # of the first


class Plan(Struct):
    """The names that a batch invalidates, and the events that cannot be planned."""

    caches: dict[str, Names] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    unmatched: int = 0  # events that no rule names
    unmatched_of: dict[str, int] = field(default_factory=dict)  # the same by topic or channel
    # Names to be applied once more, by the delay in seconds; they are in `caches` too.
    repeats: dict[float, dict[str, Names]] = field(default_factory=dict)
    # By rule and a stable word: "condition-failed", "on-reject".
    notes: dict[tuple[str, str], Note] = field(default_factory=dict)

    @property
    def names(self) -> int:
        """Return how many names there are, without second passes."""
        return sum(names.count() for names in self.caches.values())


class Cause(Struct, frozen=True):
    """The origin of names, which is announced with them."""

    source: str  # "kafka", "pubsub"; "purge" for a person
    rules: str = ""  # the hash of those that gave the names; empty for a person
    who: str = ""  # a person, as user@host
    why: str = ""  # their reason


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
        """Wait until it is over; return what could not be done."""


class Outcome(Struct):
    """The result of applying names."""

    existed: int = 0  # keys that really existed
    failures: list[Failure] = field(default_factory=list)
    sweeps: list[Ticket] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Add what another part of the same names came to."""
        self.existed += other.existed
        self.failures += other.failures
        self.sweeps += other.sweeps


class Application(Protocol):
    """Names that caches have to forget, and what is left of them to do."""

    async def apply_names(self) -> Outcome:
        """Apply what is left. Raises Unavailable; then it may be called again."""
