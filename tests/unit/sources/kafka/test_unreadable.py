"""Which offsets an unreadable batch holds, told from the bytes of a log."""

import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from invalidator.sources.kafka.unreadable import BadBatch, find_unreadable
from tests.backends.kafka_log import with_codec

LAST, BODY = 23, 61  # where these stand in a batch


def batch(first: int, *values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    for offset, value in enumerate(values):
        builder.append(offset, 1, None, value, [])
    return struct.pack(">q", first) + bytes(builder.build())[8:]


def spoilt(data: bytes, place: int = BODY + 5) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def found(data: bytes, at: int, end: int = 100) -> tuple[int, int] | None:
    bad = find_unreadable(data, at, end)
    return (bad.first, bad.next) if bad else None


GOOD, BAD = batch(0, b"a", b"b"), spoilt(batch(2, b"c", b"d", b"e"))


def test_what_can_be_read_is_not_found() -> None:
    assert found(GOOD, 0) is None
    assert found(b"", 0) is None


def test_a_wrong_checksum_is_found_with_its_offsets_and_bytes() -> None:
    assert find_unreadable(BAD, 2, 5) == BadBatch(2, 5, "its checksum is wrong", False, BAD)


def test_what_was_read_of_it_already_is_not_among_them() -> None:
    assert found(BAD, 3) == (3, 5)


def test_what_lies_before_and_was_read_is_passed() -> None:
    assert found(GOOD + BAD, 2) == (2, 5)


def test_a_bad_batch_further_on_is_not_to_blame_yet() -> None:
    assert found(GOOD + BAD, 0) is None


def test_where_the_next_one_begins_counts_for_more_than_what_a_spoilt_one_says() -> None:
    """With a hole between them, which holds nothing."""
    lies = BAD[:LAST] + struct.pack(">i", 7000) + BAD[LAST + 4 :]
    assert found(lies + batch(9, b"z"), 2) == (2, 9)


@pytest.mark.parametrize("last", [7000, -5])
def test_an_end_that_cannot_be_is_not_believed(last: int) -> None:
    lies = BAD[:LAST] + struct.pack(">i", last) + BAD[LAST + 4 :]
    assert found(lies, 2, end=5) is None


def test_a_right_checksum_says_that_no_other_copy_is_better() -> None:
    bad = find_unreadable(with_codec(batch(2, b"c"), 6), 2, 100)
    assert bad
    assert (bad.first, bad.next, bad.intact) == (2, 3, True)
    assert "codec" in bad.reason


def test_a_batch_that_was_cut_off_is_not_judged() -> None:
    assert found(GOOD + BAD[:-1], 2) is None
    assert found(BAD[:30], 2) is None
    assert found(struct.pack(">qi", 2, 3) + b"abc", 2) is None


def test_the_format_of_old_has_one_offset_for_all() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 16)
    builder.append(0, 1, None, b"value")
    old = struct.pack(">q", 4) + bytes(builder.build())[8:]
    assert found(spoilt(old, 30), 4) == (4, 5)
