"""The states of the model: Redis, the database, readers and writers between two atomic steps."""

from typing import Any, NamedTuple

NO_LEASE = 0
DONE = "done"


class Configuration(NamedTuple):
    """One run of the checker: who takes part, what may happen, and which rules are in force."""

    name: str
    readers: int
    writers: tuple[str, ...]
    events: dict[str, int]  # events of the environment, and how often each may happen
    options: dict[str, Any]  # of `Rules`
    expected: str  # "safe" or "stale"


class Rules(NamedTuple):
    """The protocol under test; each field has the right value as its default."""

    lease: str = "same"  # where it lives: same, separate, none, client (one token per process)
    tags: int = 0  # stamps that the entry carries
    stamp: str = "before"  # when stamps are read, relative to the load
    missing: str = "nx"  # an absent stamp: created (nx), or equal to absent (zero)
    version: str | None = None  # stamp: compared in the entry; key0, keynx: part of the key
    split: bool = False  # cluster: entry and stamps are read in separate steps, in any order
    swr: bool = False  # values may expire softly; a refresh holds a lease beside the value
    flight: str | None = None  # loads shared in the process by: key, token, token-absent
    attempts: int = 2
    unsaid: str | None = (
        None  # only the loader names the tags: a writer's value is drop(ped), or fill(s)
    )
    rewind: bool = True  # after a restart from a snapshot the daemon reads events again


class Entry(NamedTuple):
    value: int | None  # None: a lease alone
    stamps: tuple[int, ...]  # under which the value was put
    id: int  # of the value
    lease: int
    live: bool  # the lease's deadline has not passed
    fresh: bool
    writer: bool  # the lease is a writer's
    row: int  # the row's version


class Reader(NamedTuple):
    number: int
    at: str = "begin"  # the next step
    floor: int = -1  # the newest value whose invalidation was applied when the read began
    attempt: int = 0
    seen: int = 0  # id of the value that it saw, or the token that it joined
    stamps: tuple[int, ...] | None = None
    version: int = 0
    refresh: bool = False  # it can use what is there, and loads for others
    taking: bool = False  # `stamps` are those taken for the load
    got: Any = None

    def done(self) -> "Reader":
        return Reader(self.number, DONE, 0)


class Writer(NamedTuple):
    number: int
    kind: str
    at: str = "begin"
    value: int | None = None
    token: Any = 0


Entries = tuple[tuple[int, Entry], ...]  # by the version in the key; one without versions in keys
Flight = tuple[int, tuple[int, ...] | None, int | None]  # token, its stamps, its value


class State(NamedTuple):
    row: int  # what the database holds
    entries: Entries
    separate: int | None  # a lease in a key of its own
    stamps: tuple[int, ...]
    version: int
    procs: tuple[Reader | Writer, ...]
    events: tuple[tuple[str, int], ...]
    floor: int  # the newest committed value whose invalidation has been applied
    snapshot: Any
    clock: int
    flights: tuple[Flight, ...]

    def entry(self, version: int = 0) -> Entry | None:
        return next((entry for key, entry in self.entries if key == version), None)

    def with_entry(self, version: int, entry: Entry | None) -> Entries:
        others = tuple(pair for pair in self.entries if pair[0] != version)
        return others if entry is None else tuple(sorted((*others, (version, entry))))


def lease_alone(token: int, *, writer: bool = False) -> Entry:
    return Entry(None, (), 0, token, True, True, writer, 0)


def value_put(value: int, stamps: tuple[int, ...], id: int) -> Entry:  # noqa: A002 - the frame's word
    return Entry(value, stamps, id, NO_LEASE, False, True, False, value)
