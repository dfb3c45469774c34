"""Values that may not be stored are masked, wherever they would be told of."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.deadletters.redact import WITHHELD, Redactor
from invalidator.model import Fault, Record, Rejection


def masked(
    paths: list[str],
    raw: bytes,
    message: str = "no",
    key: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> tuple[Rejection, list[str]]:
    record = Record("kafka", "orders", "0@1", raw, key, headers)
    return Redactor(paths).masked(Rejection(record, None, (Fault("e", message, "r", "w"),)))


@pytest.mark.parametrize(
    ("paths", "event", "expected"),
    [
        (["data.email"], {"data": {"email": "a@b", "id": 1}}, {"data": {"email": "***", "id": 1}}),
        (["data"], {"data": {"email": "a@b"}}, {"data": "***"}),
        (["l.*.card"], {"l": [{"card": 1}, {"x": 2}]}, {"l": [{"card": "***"}, {"x": 2}]}),
        (["items.1"], {"items": [1, 2]}, {"items": [1, "***"]}),
        (["*.pin"], {"a": {"pin": 1}, "b": {"x": [2]}}, {"a": {"pin": "***"}, "b": {"x": [2]}}),
        (["**.pin"], {"pin": 1, "a": [{"pin": 2}]}, {"pin": "***", "a": [{"pin": "***"}]}),
        (["a.**.pin"], {"pin": 1, "a": {"b": {"pin": 2}}}, {"pin": 1, "a": {"b": {"pin": "***"}}}),
        (["after.pin"], {"after": '{"pin":7,"x":1}'}, {"after": '{"pin":"***","x":1}'}),
        (["**.pin"], {"after": '{"pin":7}'}, {"after": '{"pin":"***"}'}),
        (["data.none"], {"data": {"none": None}}, {"data": {"none": "***"}}),
    ],
)  # fmt: skip
def test_what_a_path_names_is_masked(paths: list[str], event: object, expected: object) -> None:
    rejection, found = masked(paths, json.dumps(event).encode())
    assert rejection.record.raw is not None
    assert json.loads(rejection.record.raw) == expected
    assert found == paths


def test_without_paths_the_bytes_stay_as_they_are() -> None:
    raw = b'{ "id":  1, "in": "{ }" }'
    assert masked([], raw)[0].record.raw == raw
    assert masked(["data.email"], raw)[0].record.raw == b'{"id":1,"in":"{ }"}'


def test_a_number_beyond_64_bits_survives_beside_what_is_masked() -> None:
    rejection, _ = masked(["pin"], b'{"pin":1,"n":123456789012345678901234567890}')
    assert rejection.record.raw == b'{"pin":"***","n":123456789012345678901234567890}'


def test_an_earlier_field_of_the_same_name_is_gone() -> None:
    assert masked(["pin"], b'{"pin":"secret","pin":1}')[0].record.raw == b'{"pin":"***"}'
    doubled = b'{"data":{"pin":"secret"},"data":{"id":1}}'
    assert masked(["data.pin"], doubled)[0].record.raw == b'{"data":{"id":1}}'
    text = json.dumps({"after": doubled.decode()}).encode()
    assert b"secret" not in (masked(["after.data.pin"], text)[0].record.raw or b"secret")


@pytest.mark.parametrize("raw", [b"not json, secret", b"\xff{}", b"[" * 100_000, b'{"a":'])
def test_of_what_cannot_be_read_no_byte_is_kept(raw: bytes) -> None:
    rejection, found = masked(["pin"], raw, message="secret")
    assert rejection.record.raw is None
    assert rejection.faults[0].message == WITHHELD
    assert found == ["*"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("secret@example.org", "id is 'secret@example.org'"),
        ("a very long secret that is cut", "id is 'a very long secret tha…"),
        ("with\nline", r"id is 'with\nline'"),
        (1234, "id is 1234"),
        (True, "id is true"),
        ({"deep": ["secret"]}, "id is {'deep': ['secret']}"),
    ],
)
def test_a_message_that_quotes_what_is_masked_is_withheld(value: object, message: str) -> None:
    raw = json.dumps({"id": value}).encode()
    fault = masked(["id"], raw, message)[0].faults[0]
    assert (fault.message, fault.error, fault.rule, fault.what) == (WITHHELD, "e", "r", "w")
    assert masked(["id"], raw, "no such field")[0].faults[0].message == "no such field"


def test_the_records_key_and_headers_can_be_named() -> None:
    raw, headers = b'{"key": "k", "headers": 1}', (("user", b"u"), ("t", b"1"))
    rejection, found = masked(["key", "headers.user"], raw, key=b"u1", headers=headers)
    assert rejection.record.key == b"***"
    assert rejection.record.headers == (("user", b"***"), ("t", b"1"))
    assert rejection.record.raw == b'{"key":"k","headers":1}'
    assert found == ["key", "headers.user"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("pin{[:a", max_size=8),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text("pin.a", max_size=3), each),
    max_leaves=10,
)


@given(JSON, st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x4EFF), min_size=3))
def test_a_value_under_a_named_field_is_nowhere_in_what_is_stored(
    around: object, secret: str
) -> None:
    raw = json.dumps({"x": around, "deep": [{"pin": {"a": [secret]}}]}).encode()
    rejection, _ = masked(["**.pin"], raw, message=f"quoted: {secret}")
    assert rejection.record.raw is not None
    assert secret not in json.dumps(json.loads(rejection.record.raw), ensure_ascii=False)
    assert secret not in rejection.faults[0].message
