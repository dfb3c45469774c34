"""Partitions that cannot be read: put aside so that the others flow, and tried again.

A batch that stays unreadable becomes a dead letter, and is passed over. We ask the brokers for its
bytes ourselves, since what the library raises may be a fault of its own. Such a batch begins with
its first offset, its length and its last offset. The checksum covers what follows the length: when
it is wrong, the beginning of the next batch tells the end of this one better than its own header.
"""

import asyncio
import struct
from collections.abc import Iterator

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.record.memory_records import MemoryRecords
from msgspec import Struct

from invalidator.model import Fault, Record, Slice
from invalidator.sources.kafka.assignment import Assignment
from invalidator.sources.kafka.batches import NAME, name_of
from invalidator.sources.kafka.client import MOST_PER_PARTITION
from invalidator.sources.kafka.private import describe, fetch_raw

log = structlog.get_logger("invalidator")

ASIDE_FOR = 10.0  # seconds until a partition that could not be read is tried again
TRIES = 3  # with a wrong checksum, before it is passed over: another copy may be better
FETCH_WITHIN = 5.0  # seconds

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


class UnreadablePartitions:
    """Puts partitions aside that cannot be read, and passes over what stays unreadable."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._again_at = 0.0  # when those that were put aside are tried again
        self._tries: dict[TopicPartition, tuple[int, int]] = {}  # at which position, how many

    def try_again(self, assignment: Assignment) -> None:
        """Read partitions that were put aside again, now and then."""
        now = asyncio.get_running_loop().time()
        if now >= self._again_at:
            self._again_at = now + ASIDE_FOR
            assignment.retry()

    async def put_aside(
        self, assignment: Assignment, tp: TopicPartition, error: BaseException
    ) -> None:
        """Put a partition aside, and pass over a batch that stays unreadable."""
        at = self._put_aside(assignment, tp, error)
        before, tries = self._tries.get(tp, (at, 0))
        tries = tries + 1 if before == at else 1
        self._tries[tp] = at, tries
        try:
            bad = find_unreadable(*await self._fetch(tp, at))
        except (KafkaError, OSError) as failed:  # TimeoutError is one
            log.debug("kafka-look", partition=name_of(tp), reason=describe(failed))
            return
        if bad and (bad.intact or tries >= TRIES) and at == assignment.partitions[tp].next:
            self._pass_over(assignment, tp, bad)

    async def is_refused(self, assignment: Assignment, tp: TopicPartition) -> bool:
        """Put a partition aside for which the brokers have nothing; return whether that is so."""
        try:
            await self._fetch(tp, assignment.partitions[tp].next)
        except (KafkaError, OSError) as error:
            self._put_aside(assignment, tp, error)
            return True
        return False

    def _put_aside(self, assignment: Assignment, tp: TopicPartition, error: BaseException) -> int:
        at: int = assignment.partitions[tp].next
        assignment.set_problem(tp, f"{name_of(tp)} cannot be read at {at}: {describe(error)}")
        self._again_at = asyncio.get_running_loop().time() + ASIDE_FOR
        return at

    async def _fetch(self, tp: TopicPartition, at: int) -> tuple[bytes, int, int]:
        async with asyncio.timeout(FETCH_WITHIN):
            data, end = await fetch_raw(self._consumer, tp, at, MOST_PER_PARTITION)
            return data, at, end

    def _pass_over(self, assignment: Assignment, tp: TopicPartition, bad: BadBatch) -> None:
        name, last = name_of(tp), bad.next - 1
        log.error("unreadable-batch", partition=name, first=bad.first, last=last, reason=bad.reason)
        assignment.pass_over(tp, bad.next, unreadable_slice(tp, bad))
        # its neighbours are on the same broken disk: once is enough for them
        self._tries[tp] = bad.next, TRIES - 1


def unreadable_slice(tp: TopicPartition, bad: BadBatch) -> Slice:
    """Return a dead letter that holds the whole batch as the brokers have it."""
    last = bad.next - 1
    offsets = f"{bad.first}-{last}" if last > bad.first else f"{bad.first}"
    record = Record(NAME, tp.topic, f"{tp.partition}@{offsets}", bad.raw)
    message = f"{name_of(tp)} cannot be read at {offsets}, and was passed over: {bad.reason}"
    return Slice(tp.topic, [bad.raw], lambda _: record, refused=Fault("unreadable-batch", message))


def find_unreadable(data: bytes, at: int, end: int) -> BadBatch | None:
    """Return the batch that holds offset `at`, if it is there and cannot be read.

    `end` is where the log ends, beyond all that was fetched.
    """
    batches = list(_framed(data))
    following = [*(base for base, _ in batches), None][1:]
    for (base, raw), beyond in zip(batches, following, strict=True):
        intact, reason = _try(raw)
        after = _last(base, raw) + 1
        if not intact and beyond is not None and base < beyond <= end:
            after = beyond
        known = intact or base < after <= end
        if known and after <= at:
            continue  # read already
        return BadBatch(max(at, base), after, reason, intact, raw) if reason and known else None
    return None


def _framed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the batches and their first offsets; without the last one if it was cut off."""
    place = 0
    while place + _FRAME.size <= len(data):
        base, length = _FRAME.unpack_from(data, place)
        following = place + _FRAME.size + length
        if length <= _MAGIC - _FRAME.size or following > len(data):
            return
        yield base, data[place:following]
        place = following


def _last(base: int, raw: bytes) -> int:
    """Return the last offset of a batch, as its header says."""
    if raw[_MAGIC] < _NEW_FORMAT or len(raw) < _HEADER:
        return base
    last: int = _LAST.unpack_from(raw, _LAST_AT)[0]
    return base + last


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
