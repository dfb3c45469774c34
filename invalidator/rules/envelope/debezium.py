"""Debezium change events: rows before and after, with and without the schema around them.

A row that moves from one team to another makes the caches of both stale, so names are looked up
in both rows. Where the old value of a column was not sent (Postgres' default replica identity,
large columns that did not change), a rule that needs it must not pass silently.
"""

import base64
from typing import Any, Final

from invalidator.errors import Rejected
from invalidator.model import Slice
from invalidator.rules.envelope.parse import parse
from invalidator.rules.envelope.reading import EVERY, Reading
from invalidator.runtime.text import shown

PLACEHOLDER: Final = "__debezium_unavailable_value"
_ENCODED: Final = base64.b64encode(PLACEHOLDER.encode()).decode()  # in a column of bytes
_MARKS: Final = (PLACEHOLDER.encode(), _ENCODED.encode())
PLACEHOLDERS: Final = (
    *(PLACEHOLDER, _ENCODED, [PLACEHOLDER], {PLACEHOLDER: PLACEHOLDER}),
    f'{{"{PLACEHOLDER}":"{PLACEHOLDER}"}}',  # hstore as JSON in a text
)
_TEXTS: Final = frozenset(text for text in PLACEHOLDERS if isinstance(text, str))
VERBS: Final = {"c": "created", "u": "updated", "d": "deleted", "r": "read", "t": "truncated"}
NAMED_ONLY: Final = frozenset(["r", "t"])

_NO_BEFORE: Final = (
    "the old row came without {name}: set the table's REPLICA IDENTITY to FULL "
    "(MongoDB: pre-images), or write {{after.{name}}} where the new value is enough"
)
_NO_ROW: Final = (
    "the deleted row came without {name}: set the table's REPLICA IDENTITY to FULL "
    "(MongoDB: pre-images)"
)
_LARGE: Final = "the value of {name} was not sent: large columns are only sent when they change"

Row = dict[str, Any]
Unknown = dict[str, tuple[str, str]]


def is_change(event: dict[str, Any]) -> bool:
    """Return whether this is a change event, by fields that only Debezium writes together."""
    body = event.get("payload") if "schema" in event and "payload" in event else event
    if body is None:
        return "schema" in event
    return (
        isinstance(body, dict)
        and isinstance(body.get("op"), str)
        and body["op"] in VERBS
        and isinstance(body.get("source"), dict)
        and ("after" in body or "before" in body or body["op"] == "t")
    )


# Its type, the new row (of a deleted one: its last state), the old row of an update, and the event
# without a schema. A bare tuple: there is one for each change event.
Rows = tuple[str, Row, Row | None, dict[str, Any]]


def whole_rows(event: dict[str, Any], kind: str, raw: bytes | None) -> Rows | None:
    """Read most change events fast; return None or raise anything where `read_change` must.

    `kind` is the field in which a plain event would have its type; one of ours has it in `type`.
    Without `raw` no large column can be missing.
    """
    if kind in event or "type" in event:
        return None
    wrapped = "schema" in event
    body = event["payload"] if wrapped else event
    table, op = body["source"]["table"], body["op"]
    if type(table) is not str or not table or "id" in body or (wrapped and "op" in event):
        return None
    if op == "u":
        new, old = body["after"], body["before"]
        if (
            type(new) is dict
            and type(old) is dict
            and new.keys() <= old.keys()
            and not (raw and _are_large(raw, new, old))
        ):
            return table + ".updated", new, old, body
    elif op == "c":
        new = body["after"]
        if type(new) is dict and body.get("before") is None and not (raw and _are_large(raw, new)):
            return table + ".created", new, None, body
    elif (
        op == "d"
        and type(new := body["before"]) is dict
        and body.get("after") is None
        and new
        and None not in new.values()
        and not (raw and _are_large(raw, new))
    ):
        return table + ".deleted", new, None, body
    return None


def may_be_large(events: bytes) -> bool:
    """Return whether any of these events may lack a large column."""
    return _MARKS[0] in events or _MARKS[1] in events


def _are_large(raw: bytes, row: Row, other: Row = {}) -> bool:  # noqa: B006 - never changed
    """Return whether these rows may lack a large column."""
    try:
        return not (_TEXTS.isdisjoint(row.values()) and _TEXTS.isdisjoint(other.values()))
    except TypeError:  # lists, objects
        return may_be_large(raw)


def read_change(event: dict[str, Any], part: Slice, index: int) -> Reading | None:
    body = event.get("payload") if "payload" in event and "op" not in event else event
    if body is None:
        return None  # a tombstone, wrapped in a schema
    op = body.get("op") if isinstance(body, dict) else None
    if op == "m":
        return None  # a message in the database's log, of no table
    if not isinstance(body, dict) or not isinstance(op, str) or op not in VERBS:
        raise Rejected(f"not a change event: its op is {op!r}", error="not-debezium")
    before, after = _row(body.get("before")), _row(body.get("after"))
    raw = part.values[index] or b""
    large: Unknown = {}
    if _MARKS[0] in raw or _MARKS[1] in raw:
        after, large = _filled(after, before or {})
    source = body.get("source") if isinstance(body.get("source"), dict) else {}
    kind = f"{_table(source or {}, part.origin)}.{VERBS[op]}"
    around = {**body, "id": None, "before": before, "after": after, "source": None}
    images, unknown = _images(op, before, after, large, part, index)
    return Reading(kind, images[0], around, images, unknown, named=op in NAMED_ONLY)


def _table(source: dict[str, Any], origin: str) -> str:
    for name in ("table", "collection"):
        found = source.get(name)
        if isinstance(found, str) and found:
            return found
    return origin.rpartition(".")[2]


def _row(value: object) -> Row | None:
    """Return a row; MongoDB's connector writes it as JSON in a text."""
    if isinstance(value, str):
        try:
            value = parse(value)
        except ValueError as error:
            raise Rejected(f"a row is not JSON: {error}", error="not-json") from error
    if value is None or isinstance(value, dict):
        return value
    raise Rejected(f"a row is not an object: {shown(value)}", error="not-object")


def _filled(after: Row | None, before: Row) -> tuple[Row | None, Unknown]:
    """Return the new row with old values for unsent columns, and the columns without a value."""
    row = dict(after or {})
    for name, value in row.items():
        if value in PLACEHOLDERS:
            row[name] = before.get(name, value)
    unknown = {name: ("no-before", _LARGE.format(name=name)) for name in _large(before)}
    unknown |= {name: ("no-value", _LARGE.format(name=name)) for name in _large(row)}
    return (None if after is None else row), unknown


def _large(row: Row) -> list[str]:
    return [name for name, value in row.items() if value in PLACEHOLDERS]


def _images(
    op: str, before: Row | None, after: Row | None, large: Unknown, part: Slice, index: int
) -> tuple[tuple[Row, ...], Unknown]:
    """Return the rows that names are looked up in, and the columns that were not sent."""
    if large:
        before, after = _without_large(before), _without_large(after)
    if op == "d":
        row, unknown = _deleted(before, part, index)
        return (row,), {**unknown, **large}
    if op != "u":
        return (after or before or {},), large
    new, old = after or {}, before or {}
    if new.keys() <= old.keys():
        return (new, old), large
    old, unknown = _completed(old, new, part, index)
    return (new, old), {**unknown, **large}


def _without_large(row: Row | None) -> Row | None:
    return row and {name: value for name, value in row.items() if value not in PLACEHOLDERS}


def _completed(old: Row, new: Row, part: Slice, index: int) -> tuple[Row, Unknown]:
    """Return the old row with the columns of its key, and the columns that it lacks."""
    key, old = _key(part, index), dict(old)
    unknown: Unknown = {}
    for name, value in new.items():
        if name not in old and name in key:
            old[name] = value
        elif name not in old:
            unknown[name] = ("no-before", _NO_BEFORE.format(name=name))
    return old, unknown


def _deleted(row: Row | None, part: Slice, index: int) -> tuple[Row, Unknown]:
    """Return a deleted row and what it lacks: Postgres writes null for all but the key."""
    if row and None not in row.values():
        return row, {}
    key = _key(part, index)
    if not row:
        return key, {EVERY: ("no-before", _NO_ROW.format(name="its columns"))}
    empty = [name for name, value in row.items() if value is None]
    if not row.keys() - empty <= key.keys():
        return row, {}
    return row, {name: ("no-before", _NO_ROW.format(name=name)) for name in empty}


def _key(part: Slice, index: int) -> Row:
    """Return the record's key: its columns identify the row, so they never change."""
    try:
        key = parse(part.record(index).key or b"{}")
    except ValueError:
        return {}
    if isinstance(key, dict) and isinstance(key.get("payload"), dict):
        key = key["payload"]
    if not isinstance(key, dict):
        return {}
    return {**_document(key), **key}


def _document(key: Row) -> Row:
    """Return a document's _id: MongoDB's connector writes it as JSON in a field called id."""
    text = key.get("id")
    try:
        return {"_id": parse(text)} if isinstance(text, str) and len(key) == 1 else {}
    except ValueError:
        return {}
