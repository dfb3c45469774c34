"""A value comes back as it was, or the codec says why not."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, Field

from invalidator.cache import CodecError, json_codec, msgpack_codec, pickle_codec, raw_codec
from invalidator.cache.codecs import Codec, Undecodable, packed, value_of


class Order(msgspec.Struct):
    id: str
    total: Decimal
    at: datetime


@dataclass
class Point:
    x: int
    y: int


class Model(BaseModel):
    id: UUID
    name: str = Field(alias="Name")


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (json_codec(), {"a": [1, 2.5, None, True, "ü"], "big": 2**70}),
        (json_codec(int), 0),
        (json_codec(str), ""),
        (json_codec(dict[str, object]), {"a": [1]}),
        (json_codec(list[int]), []),
        (json_codec(Order | None), Order("1", Decimal("1.50"), datetime(2026, 1, 1, tzinfo=UTC))),
        (json_codec(dict[str, Point]), {"a": Point(1, 2)}),
        (json_codec(tuple[int, str]), (1, "a")),
        (json_codec(list[Model]), [Model(id=UUID(int=7), Name="n")]),
        (msgpack_codec(Order), Order("1", Decimal("1.50"), datetime(2026, 1, 1, tzinfo=UTC))),
        (pickle_codec(), {1: {2, 3}}),
        (raw_codec(), b"\x00\xff"),
    ],
)
def test_a_value_comes_back_as_it_was(codec: Codec, value: Any) -> None:
    found = codec.decode(codec.encode(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "value", [(1, 2), {1: "a"}, datetime(2026, 1, 1, tzinfo=UTC), [Point(1, 2)], float("nan"), b"x"]
)
def test_a_value_that_would_come_back_changed_is_an_error(value: Any) -> None:
    for codec in (json_codec(), json_codec(dict[str, Any])):
        with pytest.raises(CodecError):
            codec.encode(value)


def test_a_type_that_no_codec_knows_is_an_error_at_import() -> None:
    class Odd:
        pass

    with pytest.raises(CodecError, match="no codec knows"):
        json_codec(Odd)


def test_large_values_are_packed_where_that_helps() -> None:
    text = b'"' + b"a" * 5000 + b'"'
    letter, smaller = packed(text, 2048)
    assert (letter, len(smaller) < 100) == (b"z", True)
    assert packed(text, 0) == (b"-", text)
    assert packed(b'"a"', 2048) == (b"-", b'"a"')
    assert value_of(b"!i1 VJz" + smaller, 7, json_codec(str)) == "a" * 5000


@pytest.mark.parametrize("entry", [b"!i1 VJ-no", b"!i1 VP-1", b"!i1 VJz1", b'!i1 VJ-"text"'])
def test_what_does_not_decode_is_told_apart(entry: bytes) -> None:
    with pytest.raises(Undecodable):
        value_of(entry, 7, json_codec(int))
