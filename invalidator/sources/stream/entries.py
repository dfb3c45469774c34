"""Turns a stream's entries into events. No I/O.

An entry is a list of fields and values. The event is JSON in a field `event` or `data`, or the
fields are the event: `XADD orders * type order.updated orderId o1`. Debezium Server writes the key
and the value of a record: as name and value of one field, or in two fields `key` and `value`.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from invalidator.model import Record, Slice

Fields = list[bytes]  # field, value, field, value …
Entry = Sequence[Any]  # as Redis replies: its id, and its fields or None if it was removed
Id = tuple[int, int]  # an id that can be compared: milliseconds, sequence number

EVENT: Final = b"event"
DATA: Final = b"data"
WHOLE: Final = frozenset([EVENT, DATA])  # fields that hold an event as JSON
NULL: Final = b"default"  # what Debezium Server writes for null, as a key or a value
NOTHING: Final = (0, 0)
_LAST: Final = (1 << 64) - 1


def parse_id(text: bytes) -> Id:
    milliseconds, _, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence or 0)


def show_id(found: Id) -> str:
    return f"{found[0]}-{found[1]}"


def before(found: Id) -> Id:
    """Return the greatest id below this one: a group that stands there gives this one next."""
    milliseconds, sequence = found
    if sequence:
        return milliseconds, sequence - 1
    return (milliseconds - 1, _LAST) if milliseconds else NOTHING


def slice_of(source: str, key: str, entries: Sequence[Entry]) -> Slice:
    """Return one stream's entries, in order."""
    values: list[bytes | None] = [
        # THE hot path: an entry that is nothing but its event
        fields[1] if len(fields) == 2 and fields[0] in WHOLE else value_of(fields)
        for _, fields in entries
    ]

    def record(index: int) -> Record:
        id_, fields = entries[index]
        key_, headers = key_of(fields), headers_of(fields)
        time_ms, _ = parse_id(id_)
        return Record(source, key, id_.decode(), values[index], key_, headers, time_ms)

    beside = any(len(fields) > 2 for _, fields in entries)
    headers = [headers_of(fields) for _, fields in entries] if beside else ()
    return Slice(key, values, record, headers)


def value_of(fields: Fields) -> bytes | None:
    """Return an entry's event as JSON; None for a tombstone."""
    if pair := _pair(fields):
        return None if pair[1] == NULL else pair[1]
    whole = _whole(fields)
    if whole is not None:
        return fields[whole]
    try:
        return _object(fields)
    except UnicodeDecodeError:
        return b" ".join(fields)  # no JSON: it is rejected as such, with all its bytes


def key_of(fields: Fields) -> bytes | None:
    """Return the key of a record that Debezium Server wrote."""
    pair = _pair(fields)
    return pair[0] if pair and pair[0] != NULL else None


def _pair(fields: Fields) -> tuple[bytes, bytes] | None:
    """Return the key and value of a record that Debezium Server wrote; None if it did not."""
    if len(fields) == 2:
        key, value = fields
    elif fields[0] == b"key" and fields[2] == b"value":
        key, value = fields[1], fields[3]
    else:
        return None
    record = key[:1] == b"{" or key == NULL
    return (key, value) if record and (value[:1] in (b"{", b"n") or value == NULL) else None


def headers_of(fields: Fields) -> tuple[tuple[str, bytes], ...]:
    """Return the other fields, where one field is the whole event, or two are key and value."""
    whole = _whole(fields)
    if _pair(fields):
        fields, whole = fields[4:], None
    elif whole is None or len(fields) == 2:
        return ()
    pairs = zip(fields[::2], fields[1::2], strict=True)
    return tuple(
        (name.decode(errors="backslashreplace"), value)
        for at, (name, value) in enumerate(pairs)
        if 2 * at + 1 != whole
    )


def _whole(fields: Fields) -> int | None:
    """Return the index of the value that is the whole event; None if all fields are the event."""
    names = fields[::2]
    if len(names) == 1:
        return 1 if names[0] in WHOLE else None
    for name in (EVENT, DATA):
        if name not in names:
            continue
        at = 2 * names.index(name) + 1
        if fields[at].lstrip()[:1] != b"{":
            continue  # `event order.updated orderId o1`: a type
        if name == DATA and (b"type" in names or EVENT in names):
            continue  # `type order.updated data {…}`: only a part of the event
        return at
    return None


def _object(fields: Fields) -> bytes:
    """Turn `type order.updated orderId o1` into {"type": "order.updated", "orderId": "o1"}."""
    event: dict[str, str | orjson.Fragment] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name == DATA and value.lstrip()[:1] == b"{":
            event["data"] = orjson.Fragment(value)  # if it is no JSON, neither is the event
        else:
            event[name.decode()] = value.decode()
    return orjson.dumps(event)
