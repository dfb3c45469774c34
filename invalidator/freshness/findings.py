"""Stale entries that were found, each with what explains it. Bounded, and without values."""

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from invalidator.deadletters.redact import WITHHELD, Redactor
from invalidator.freshness.stored import Stored
from invalidator.model import Fault, Kind, Record, Rejection

FAILOVER: Final = "failover"
SLOW_READER: Final = "slow-reader"
REPLICA: Final = "lagging-replica"
SECOND_WRITER: Final = "second-writer"
WENT_BACK: Final = "went-back"

REASONS: Final = {
    FAILOVER: "a failover: this Redis or another server of the caches lost writes or was restarted "
    "after the deletion, and the entry came back with older data",
    SLOW_READER: "written back by a slow reader: it read the old row, and wrote the entry after "
    "the deletion. The entry has no lease (docs/read-side.md), so nothing prevented that",
    REPLICA: "invalidator.cache wrote it under a lease, so no reader was late: its loader read old "
    "data after the deletion, such as from a lagging replica. See repeat_after: in docs/rules.md",
    SECOND_WRITER: "it was fresh or absent at an earlier check: a second writer stored old data "
    "afterwards, or a reader that took longer than that",
    WENT_BACK: "the counter is lower than just after it was raised: it was evicted, overwritten, "
    "or lost in a failover. Entries of an earlier count may be served again",
}


class Trace(Struct, frozen=True):
    """The way of the event whose effect is checked. Times are Unix time."""

    type: str
    id: str | None
    source: str
    origin: str
    position: str
    published: float | None
    read: float
    applied: float
    daemon: str
    rules: str  # their hash


class Finding(Struct, frozen=True):
    """A stale entry."""

    found: float  # Unix time
    rule: str
    cache: str
    kind: Kind  # of the name that the event gave
    name: str
    key: str  # that holds the stale value; of a tag or pattern, one of those it stands for
    delay: float  # seconds since the event was applied
    why: str  # a word of REASONS
    trace: Trace
    digest: str  # of the value
    ttl: float | None  # seconds; None: it has none
    age: float  # seconds, at most
    entry: str  # the id of an entry of invalidator.cache; otherwise empty


class Findings:
    """The newest findings."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Finding] = deque(maxlen=most)

    def add(self, finding: Finding) -> None:
        self._kept.append(finding)

    def newest(self) -> list[Finding]:
        """Return all that are kept, the newest first."""
        return list(reversed(self._kept))


class Names:
    """Shows names, unless they quote a value that must not be stored."""

    def __init__(self, redact: Sequence[str]) -> None:
        """`redact` lists paths as INVALIDATOR_DEAD_LETTERS__REDACT does."""
        self._redactor = Redactor(redact)
        self._redacts = bool(redact)

    def shown(self, name: str, record: Record) -> str:
        if not self._redacts:
            return name
        fault = Fault("stale", name)
        masked, _ = self._redactor.masked(Rejection(record, None, (fault,)))
        if masked.faults[0].message != WITHHELD:
            return name
        return f"withheld:{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"


def cause_of(found: Stored, *, identity_changed: bool, fresh_before: bool) -> str:
    """Return the most probable reason why an entry is stale."""
    if identity_changed:
        return FAILOVER
    if fresh_before:
        return SECOND_WRITER
    return REPLICA if found.is_entry else SLOW_READER
