"""An entry: one Redis string that holds a value, the stamps it depends on, and a lease.

docs/read-side.md describes the frame for readers in other languages.
"""

import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from random import expovariate
from typing import Final

import orjson
from msgspec import Struct

from invalidator.cache.kinds import Policy

HEAD: Final = 99  # bytes before the line of stamps
NO_TOKEN: Final = b"-" * 16
VALUE, ABSENT, LEASE_ALONE = b"!i1 V", b"!i1 N", b"!i1 L"
WRITER: Final = ord("~")  # a writer's token begins with it: readers need not wait for it
_END, _COMMA, _OPEN = ord("\n"), ord(","), ord("[")

# What a reader does with what it found.
HIT: Final = 0  # serve it
EARLY: Final = 1  # serve it, and refresh it before it expires
STALE: Final = 2  # serve it, and refresh it
EXPIRED: Final = 3  # load; the value may be served if that fails
BUSY: Final = 4  # somebody loads: wait
MISS: Final = 5  # load


def new_token() -> bytes:
    """Return a token for one load: 96 random bits."""
    return urlsafe_b64encode(os.urandom(12))


def writer_token() -> bytes:
    """Return a token for a writer's lease."""
    return b"~" + new_token()[1:]


class Names:
    """The keys that a read needs: the entry, then the stamps and versions it depends on."""

    __slots__ = ("declared", "keys", "parts", "stamps")

    def __init__(self, key: str, declared: tuple[str, ...] = (), extra: tuple[str, ...] = ()):
        self.declared = declared  # by the code; `extra` are those that the last load named
        self.stamps = stamps = declared + extra
        if stamps:
            self.keys = [key, *stamps]
            # As they stand in a line of stamps.
            self.parts = [_PARTS.get(name) or _part(name) for name in stamps]
        else:
            self.keys = [key]
            self.parts = []

    @property
    def key(self) -> str:
        return self.keys[0]

    @property
    def extra(self) -> tuple[str, ...]:
        return self.stamps[len(self.declared) :]

    def line(self, stamps: Sequence[bytes | None]) -> bytes | None:
        """Return the entry's line of stamps as it must be now; None where a stamp is missing."""
        if not self.parts:
            return b""
        if None in stamps:
            return None
        pairs = [part + stamp for part, stamp in zip(self.parts, stamps, strict=True)]  # type: ignore[operator]
        return b"[" + b'",'.join(pairs) + b'"]'

    def fitting(self, entry: bytes | None) -> "Names":
        """Return the names that the entry itself lists, if those declared are among them."""
        listed = listed_names(entry)
        count = len(self.declared)
        if listed is None or listed == self.stamps or listed[:count] != self.declared:
            return self
        return Names(self.key, self.declared, listed[count:])


_PARTS: dict[str, bytes] = {}
_MOST_PARTS: Final = 20_000


def _part(name: str) -> bytes:
    """Return a name as it stands in a line of stamps, with what follows up to its stamp."""
    if len(_PARTS) > _MOST_PARTS:
        _PARTS.clear()
    part = _PARTS[name] = orjson.dumps(name) + b',"'
    return part


def listed_names(entry: bytes | None) -> tuple[str, ...] | None:
    """Return the names in an entry's line of stamps; None where it is no value."""
    if entry is None or entry[:5] not in (VALUE, ABSENT):
        return None
    line = entry[HEAD : entry.find(b"\n", HEAD)]
    if not line:
        return ()
    try:
        return tuple(orjson.loads(line)[::2])
    except (orjson.JSONDecodeError, TypeError):
        return None


def judge(entry: bytes | None, line: bytes | None, now: float, policy: Policy) -> int:
    """Say what a reader does with what it found; `now` is in ms of Redis's clock."""
    if entry is None:
        return MISS
    state = entry[:5]
    if state == LEASE_ALONE:
        waits = entry[30] != WRITER and int(entry[47:60]) > now
        return BUSY if waits else MISS
    if state not in (VALUE, ABSENT) or line is None or entry[8:12] != policy.schema:
        return MISS
    if not entry.startswith(line, HEAD) or entry[HEAD + len(line)] != _END:
        return MISS
    left = int(entry[61:74]) - now
    if left > 0:
        load = int(entry[92:98]) * policy.early
        early = left < load * 20 and left < load * expovariate(1.0)
        return EARLY if early and int(entry[47:60]) <= now else HIT
    if left > -1000 * policy.swr:
        return STALE if int(entry[47:60]) <= now else HIT  # somebody refreshes, or has just failed
    if left > -1000 * policy.stale_if_error:
        if int(entry[47:60]) <= now or entry[30] == WRITER:
            return EXPIRED
        return HIT if entry[30:46] == NO_TOKEN else BUSY  # the last load has just failed
    return MISS


class Lease(Struct, frozen=True):
    """Whose turn it is, as an entry says it."""

    token: bytes
    until: int  # ms of Redis's clock


def lease_of(entry: bytes | None) -> Lease | None:
    """Return the lease of an entry, if it has one of a reader."""
    if entry is None or entry[:4] != b"!i1 " or entry[30] == WRITER:
        return None
    return Lease(entry[30:46], int(entry[47:60]))


def id_of(entry: bytes | None) -> bytes:
    """Return the id of an entry's value; empty where it has none."""
    if entry is None or entry[:5] not in (VALUE, ABSENT):
        return b""
    return entry[13:29]


def fresh_until(entry: bytes) -> int:
    """Return when an entry's value is no longer fresh, in ms of Redis's clock."""
    return int(entry[61:74])


def load_time(entry: bytes | None) -> float | None:
    """Return the seconds that the entry's value took to load."""
    return int(entry[92:98]) / 1000 if id_of(entry) and entry else None


class Frame(Struct, frozen=True):
    """What goes into an entry."""

    payload: bytes
    codec: bytes  # two letters: the codec and the packing
    token: bytes
    line: bytes  # of stamps
    fresh_until: float  # ms of Redis's clock
    schema: bytes = b"0000"
    absent: bool = False
    row: int = 0  # its version
    took: float = 0.0  # ms

    def encoded(self) -> bytes:
        return b"%b%b %b %b %b 0000000000000 %013d %016d %06d\n%b\n%b" % (
            *(ABSENT if self.absent else VALUE, self.codec, self.schema, self.token, NO_TOKEN),
            *(self.fresh_until, self.row, min(self.took, 999_999), self.line, self.payload),
        )
