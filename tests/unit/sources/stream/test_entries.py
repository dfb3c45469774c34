"""How an entry of a stream becomes an event."""

from typing import Any

import orjson
import pytest

from invalidator.sources.stream.entries import (
    before,
    headers_of,
    parse_id,
    show_id,
    slice_of,
    value_of,
)


def fields(**pairs: str) -> list[bytes]:
    return [text.encode() for pair in pairs.items() for text in pair]


@pytest.mark.parametrize("name", ["event", "data"])
def test_a_field_named_event_or_data_is_the_event(name: str) -> None:
    assert value_of(fields(**{name: '{"type": "t"}'})) == b'{"type": "t"}'


@pytest.mark.parametrize("name", ["event", "data"])
def test_alone_it_is_the_event_even_where_it_is_no_json(name: str) -> None:
    assert value_of([name.encode(), b"\xff"]) == b"\xff"


def test_what_stands_beside_the_event_are_its_headers() -> None:
    found = fields(trace="1", event='{"type": "t"}', tenant="a")
    assert value_of(found) == b'{"type": "t"}'
    assert headers_of(found) == (("trace", b"1"), ("tenant", b"a"))


def test_other_fields_are_the_event() -> None:
    found = fields(type="order.updated", orderId="o1", note="")
    assert orjson.loads(value_of(found) or b"") == {
        "type": "order.updated",
        "orderId": "o1",
        "note": "",
    }
    assert headers_of(found) == ()


def test_a_field_named_event_that_is_no_object_is_the_type() -> None:
    found = fields(event="order.updated", orderId="o1")
    assert orjson.loads(value_of(found) or b"") == {"event": "order.updated", "orderId": "o1"}


@pytest.mark.parametrize("word", ["type", "event"])
def test_data_beside_a_type_is_its_data(word: str) -> None:
    found = fields(**{word: "order.updated", "data": '{"orderId": 1}'})
    assert orjson.loads(value_of(found) or b"") == {word: "order.updated", "data": {"orderId": 1}}


def test_data_that_only_looks_like_json_makes_no_event() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(value_of(fields(type="order.updated", data="{orderId: 1}")) or b"")


def test_data_that_is_a_text_stays_one() -> None:
    found = fields(type="t", data="o1")
    assert orjson.loads(value_of(found) or b"") == {"type": "t", "data": "o1"}


def test_bytes_that_are_no_text_make_no_event_and_are_kept() -> None:
    value = value_of([b"type", b"t", b"id", b"\xff\xfe"])
    assert value == b"type t id \xff\xfe"


def test_a_record_says_where_it_lies_and_when_it_was_published() -> None:
    ids = [b"1700000000500-0", b"1700000000500-1"]
    entries = [(ids[0], fields(event="{}")), (ids[1], fields(event='{"a": 1}', tenant="x"))]
    part = slice_of("stream", "orders", entries)
    assert part.values == [b"{}", b'{"a": 1}']
    record = part.record(1)
    assert (record.source, record.origin, record.position) == ("stream", "orders", ids[1].decode())
    assert (record.raw, record.time_ms) == (b'{"a": 1}', 1700000000500)
    assert list(part.headers) == [(), (("tenant", b"x"),)]
    assert slice_of("stream", "orders", entries[:1]).headers == ()


@pytest.mark.parametrize(
    ("text", "less"),
    [(b"5-3", "5-2"), (b"5-0", f"4-{2**64 - 1}"), (b"0-0", "0-0"), (b"7", f"6-{2**64 - 1}")],
)
def test_the_id_before_another(text: bytes, less: str) -> None:
    assert show_id(before(parse_id(text))) == less


CHANGE = b'{"before":null,"after":{"id":1},"source":{"table":"users"},"op":"c"}'
ROW = b'{"id":1}'


@pytest.mark.parametrize(
    ("found", "key", "value", "headers"),
    [
        ([ROW, CHANGE], ROW, CHANGE, ()),
        ([ROW, b"default"], ROW, None, ()),  # a tombstone
        ([b"default", CHANGE], None, CHANGE, ()),  # a table without a primary key
        ([ROW, b"null"], ROW, b"null", ()),  # ExtractNewRecordState deleted the row
        ([b"key", ROW, b"value", CHANGE], ROW, CHANGE, ()),
        ([b"key", ROW, b"value", b"default"], ROW, None, ()),
        (
            [b"key", ROW, b"value", CHANGE, b"__DEBEZIUM.CONTEXT.TASK", b"0"],
            *(ROW, CHANGE, (("__DEBEZIUM.CONTEXT.TASK", b"0"),)),
        ),
    ],
)
def test_records_of_debezium_server_have_a_key(
    found: list[bytes], key: bytes | None, value: bytes | None, headers: Any
) -> None:
    part = slice_of("stream", "shop.public.users", [[b"1-0", found]])
    record = part.record(0)
    assert (part.values, record.raw, record.key) == ([value], value, key)
    assert record.headers == headers
    assert list(part.headers) == ([headers] if len(found) > 2 else [])


def test_fields_that_are_called_key_and_value_are_an_event() -> None:
    found = fields(type="t", key="k", value="{}")
    assert orjson.loads(value_of(found) or b"") == {"type": "t", "key": "k", "value": "{}"}
