"""How many bytes of memory events take."""

from invalidator.model import Batch, Record, Slice

HEADERS = [[("trace", b"12345")], []]
RECORD = Record("kafka", "t", "", b"value", key=b"key", headers=(("trace", b"12345"),))


def slice_of(origin: str = "t") -> Slice:
    return Slice(origin, [b"value", None], lambda _: RECORD, HEADERS, keys=6)


def test_values_keys_and_headers_count() -> None:
    assert slice_of().size == 5 + 6 + 10
    assert RECORD.size == 5 + 3 + 10
    assert Record("kafka", "t", "", None).size == 0


def test_a_batch_without_a_topic_has_the_same_end_and_what_is_left_of_its_size() -> None:
    own = [slice_of("own")]
    batch = Batch("kafka", [slice_of("a"), slice_of("b"), slice_of("b")], 6, 63, "end", own)
    left = batch.without({"b"})
    assert [part.origin for part in left.slices] == ["a"]
    assert (left.events, left.size, left.ends, left.own) == (2, 21, "end", own)
