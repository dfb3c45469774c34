"""Read what a key holds: an entry of invalidator.cache, or the JSON of a hand-written cache.

docs/read-side.md describes the header of an entry; what it says here is checked by a test.
"""

import hashlib
from typing import Any, Final

import orjson
from msgspec import Struct

MOST: Final = 1 << 20  # bytes of a value that are read
HEAD: Final = 99  # bytes before an entry's line of stamps
_VALUE, _ABSENT, _LEASE_ALONE = b"!i1 V", b"!i1 N", b"!i1 L"
_PLAIN_JSON: Final = b"J-"


class Unreadable(Exception):  # noqa: N818 - a finding, not a failure
    """The value cannot be compared: it is no JSON, packed, or lacks the field."""


class Stored(Struct, frozen=True):
    """A value that a reader would be served."""

    raw: bytes
    ttl_ms: int  # -1: none

    @property
    def is_entry(self) -> bool:
        """Return whether invalidator.cache wrote it."""
        return self.raw[:5] in (_VALUE, _ABSENT)

    @property
    def says_absent(self) -> bool:
        """Return whether it stands for a row that does not exist."""
        return self.raw[:5] == _ABSENT or self.raw == b"null"

    @property
    def version(self) -> int:
        """Return the row's version. Raises Unreadable where the entry has none."""
        if not self.is_entry or not (row := int(self.raw[75:91])):
            raise Unreadable
        return row

    @property
    def id(self) -> str:
        """Return the id of an entry: of the load that put it there."""
        return self.raw[13:29].decode("ascii", "replace") if self.is_entry else ""

    @property
    def stamps(self) -> list[tuple[str, str]]:
        """Return the stamps that an entry depends on, each with its key."""
        if not self.is_entry:
            return []
        line = self.raw[HEAD : self.raw.find(b"\n", HEAD)]
        listed = orjson.loads(line) if line else []
        return list(zip(listed[::2], listed[1::2], strict=True))

    @property
    def digest(self) -> str:
        """Return what identifies the value without showing it."""
        return hashlib.blake2b(self._payload, digest_size=8).hexdigest()

    def field(self, path: str) -> Any:
        """Return a field of the value. Raises Unreadable."""
        if self.is_entry and self.raw[5:7] != _PLAIN_JSON:
            raise Unreadable
        try:
            return at_path(orjson.loads(self._payload), path)
        except orjson.JSONDecodeError as error:
            raise Unreadable from error

    @property
    def _payload(self) -> bytes:
        return self.raw[self.raw.find(b"\n", HEAD) + 1 :] if self.is_entry else self.raw


def stored(raw: object, ttl_ms: object) -> Stored | None:
    """Return what a key holds; None where a reader finds nothing: no key, or a lease alone."""
    if not isinstance(raw, bytes) or not isinstance(ttl_ms, int):
        raise Unreadable
    if ttl_ms == -2 or raw[:5] == _LEASE_ALONE:
        return None
    if len(raw) >= MOST:
        raise Unreadable
    return Stored(raw, ttl_ms)


def at_path(value: Any, path: str) -> Any:
    """Return the field at a path such as `order.version`. Raises Unreadable."""
    for step in path.split("."):
        if not isinstance(value, dict) or step not in value:
            raise Unreadable
        value = value[step]
    return value
