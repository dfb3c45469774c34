"""A dead letter is read as it was written, whatever the event held."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.deadletters.entry import Fields, Letter, fields_of, letter_of, plain
from invalidator.model import Fault, Record, Rejection

FAULTS = (
    Fault("missing-field", "the event has no orderId", "order", "order:single:{orderId}"),
    Fault("noperm", "no permissions", "audit", "audit:{id}"),
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
RECORDS = st.builds(
    Record,
    source=st.just("kafka"),
    origin=TEXTS,
    position=TEXTS,
    raw=st.binary(max_size=50),
    key=st.none() | st.binary(max_size=10),
    headers=st.lists(st.tuples(TEXTS, st.binary(max_size=10)), max_size=3).map(tuple),
    time_ms=st.none() | st.integers(0, 2**50),
)


def stored(rejection: Rejection, replayed: Letter | None = None, **more: bytes) -> Fields:
    """Return the fields as Redis gives them back."""
    fields = fields_of(rejection, "hash", 1_795_000_000_250, replayed=replayed)
    read = {n.encode(): v if isinstance(v, bytes) else v.encode() for n, v in fields}
    return {**read, **{name.encode(): value for name, value in more.items()}}


@given(RECORDS)
def test_it_is_read_as_it_was_written(record: Record) -> None:
    letter = letter_of(b"1795000000300-1", stored(Rejection(record, "order.updated", FAULTS)))
    assert letter.record == record
    assert letter.faults == FAULTS
    assert (letter.id, letter.type, letter.attempts) == ("1795000000300-1", "order.updated", 1)
    assert (letter.first_seen, letter.failed_at) == (1_795_000_000_250, 1_795_000_000_250)
    assert not letter.lacks
    orjson.dumps(plain(letter))


@pytest.mark.parametrize(
    ("raw", "headers", "found"),
    [
        (b'{"id": "e1"}', (), "e1"),
        (b'{"id": 7}', (), "7"),
        (b'{"id": {}}', (), ""),
        (b"[1]", (), ""),
        (b"not json", (), ""),
        (b"{}", (("ce_id", b"c1"),), "c1"),
    ],
)
def test_the_id_is_the_events_own(
    raw: bytes, headers: tuple[tuple[str, bytes]], found: str
) -> None:
    record = Record("kafka", "orders", "0@1", raw, headers=headers)
    assert letter_of(b"1-0", stored(Rejection(record, None, FAULTS))).event_id == found


def test_without_an_event_there_is_nothing_to_replay() -> None:
    letter = letter_of(b"1-0", stored(Rejection(Record("kafka", "", "", None), None, FAULTS)))
    assert letter.record.raw is None
    assert letter.lacks == "it holds no event"


def test_an_entry_that_is_rejected_again_counts_on() -> None:
    record = Record("kafka", "orders", "0@1", b'{"pin":"***"}')
    first = letter_of(
        b"1-0", stored(Rejection(record, None, FAULTS), redacted=b'["pin"]', first_seen=b"7")
    )
    again = Rejection(record, "t", (Fault("no-type", "none"),))
    second = letter_of(b"2-0", stored(again, first))
    assert (second.attempts, second.failed_at) == (2, 1_795_000_000_250)
    assert (second.record, second.first_seen) == (record, 7)
    assert (second.faults, second.redacted) == (again.faults, ("pin",))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"faults": b"nonsense", b"headers": b"{}", b"failed_at": b"soon", b"redacted": b"7"},
        {b"faults": b'[7, {"rule": 9}]', b"headers": b'[1, ["a"], ["n", {"base64": 1}]]'},
        {b"source": b"\xff\x1b[31m"},
    ],
)
def test_what_others_wrote_there_is_read_as_far_as_it_goes(fields: Fields) -> None:
    letter = letter_of(b"7-0", fields)
    assert letter.failed_at == 7
    assert letter.faults
    orjson.dumps(plain(letter))
