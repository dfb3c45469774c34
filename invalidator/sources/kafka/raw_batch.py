"""Finds in the bytes of a Kafka log the batch that the library cannot read, and its offsets.

A batch begins with its first offset, its length and, in its own way, its last offset. The checksum
covers what follows the length; so when it is wrong, the beginning of the next batch tells more
about the end of this one than its own header.
"""

import struct
from collections.abc import Iterator

from aiokafka.record.memory_records import MemoryRecords
from msgspec import Struct

from invalidator.sources.describe import describe

_FRAME = struct.Struct(">qi")  # first offset, length of what follows
_MAGIC = 16  # place of the version of the format
_LAST = struct.Struct(">i")  # last offset, counted from the first
_LAST_AT = 23
_HEADER = 61  # bytes, in the present format
_NEW_FORMAT = 2


class BadBatch(Struct, frozen=True):
    """A batch that cannot be read."""

    first: int  # of those that had not been read yet
    next: int  # the first offset after it
    reason: str
    intact: bool  # what was written is what we have: no other copy is any better
    raw: bytes


class _Framed(Struct, frozen=True):
    """A batch of which the content is not decoded."""

    base: int
    raw: bytes

    @property
    def next(self) -> int:
        if self.raw[_MAGIC] < _NEW_FORMAT or len(self.raw) < _HEADER:
            return self.base + 1
        last: int = _LAST.unpack_from(self.raw, _LAST_AT)[0]
        return self.base + last + 1


def find_unreadable(data: bytes, at: int, end: int) -> BadBatch | None:
    """Return the batch that holds offset `at`, if it is there and cannot be read.

    `end` is where the log ends, beyond all that was fetched.
    """
    batches = list(_framed(data))
    for index, batch in enumerate(batches):
        following = batches[index + 1].base if index + 1 < len(batches) else None
        intact, reason = _try(batch.raw)
        after = _after(batch, following, end, intact=intact)
        if after is not None and after <= at:
            continue  # read already
        if not reason or after is None:
            return None
        return BadBatch(max(at, batch.base), after, reason, intact, batch.raw)
    return None


def _framed(data: bytes) -> Iterator[_Framed]:
    """Yield the batches; without the last one if it was cut off."""
    place = 0
    while place + _FRAME.size <= len(data):
        base, length = _FRAME.unpack_from(data, place)
        following = place + _FRAME.size + length
        if length <= _MAGIC - _FRAME.size or following > len(data):
            return
        yield _Framed(base, data[place:following])
        place = following


def _after(batch: _Framed, following: int | None, end: int, *, intact: bool) -> int | None:
    """Return the first offset after a batch; None if it is unknown."""
    if intact:
        return batch.next
    if following is not None and batch.base < following <= end:
        return following
    return batch.next if batch.base < batch.next <= end else None


def _try(raw: bytes) -> tuple[bool, str]:
    """Read it as the library does. Return whether its checksum is right, and what is wrong."""
    intact = False
    try:
        batch = MemoryRecords(raw).next_batch()
        intact = batch.validate_crc()
        if not intact:
            return False, "its checksum is wrong"
        for _ in batch:
            pass
    except Exception as error:  # noqa: BLE001 - a codec may raise anything
        return intact, describe(error)
    return True, ""
