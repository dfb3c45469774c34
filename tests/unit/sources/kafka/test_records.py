"""What was fetched is given in portions; what cannot be read does not hide what lies before it."""

import gc
import struct
import weakref
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from invalidator.sources.kafka.private import Runs

TP = TopicPartition("orders", 0)


def batch(first: int, *values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    for offset, value in enumerate(values):
        builder.append(offset, 1, None, value, [])
    return struct.pack(">q", first) + bytes(builder.build())[8:]


def fetched(data: bytes, at: int = 0) -> PartitionRecords:
    return PartitionRecords(TP, MemoryRecords(data), [], at, None, None, True, READ_COMMITTED)


def portions(part: PartitionRecords, runs: Runs, limit: int) -> Iterator[list[int]]:
    while not runs.over(part):
        yield [record.offset for record in runs.take(part, limit)]


def test_batches_are_given_together_and_in_portions() -> None:
    data = batch(0, b"a", b"b") + batch(5, b"c", b"d", b"e")
    for limit, expected in (
        (10, [[0, 1, 5, 6, 7]]),
        (2, [[0, 1], [5, 6], [7]]),
        (1, [[0], [1], [5], [6], [7]]),
    ):
        part = fetched(data)
        assert list(portions(part, Runs(0), limit)) == expected
        assert part.next_fetch_offset == 8


def test_between_portions_the_position_is_that_of_the_next_record() -> None:
    part = fetched(batch(0, b"a") + batch(4, b"b", b"c"))
    runs = Runs(0)
    seen = [(len(runs.take(part, 1)), part.next_fetch_offset) for _ in range(3)]
    assert seen == [(1, 1), (1, 5), (1, 6)]


def test_what_was_read_before_is_not_given_again() -> None:
    part = fetched(batch(0, b"a", b"b", b"c"), at=2)
    assert list(portions(part, Runs(2), 10)) == [[2]]


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_an_error_comes_after_all_that_can_be_read(limit: int) -> None:
    good, bad = batch(0, b"a", b"b"), bytearray(batch(2, b"c"))
    bad[-1] ^= 0xFF
    part, runs = fetched(good + bytes(bad)), Runs(0)
    assert [offset for each in portions(part, runs, limit) for offset in each] == [0, 1]
    assert isinstance(runs.error, CorruptRecordException)
    assert part.next_fetch_offset == 2


def test_nothing_keeps_what_was_fetched_alive() -> None:
    class Seen(PartitionRecords):  # type: ignore[misc]  # it ships no types
        """The library's own cannot be watched."""

    gc.disable()
    try:
        part = Seen(TP, MemoryRecords(batch(0, b"a")), [], 0, None, None, True, READ_COMMITTED)
        part._records_iterator = runs = Runs(0)
        runs.take(part, 10)
        gone = weakref.ref(part)
        del part
        assert gone() is None
    finally:
        gc.enable()
