"""The rows of a change event: which of their values were really sent.

Where the database sends no more than what identifies a row, Debezium fills the other columns with
null, zero, an empty value or the column's default. For a large column that did not change it writes
a placeholder. Neither may get into a name.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from invalidator.errors import Rejected
from invalidator.model import Slice
from invalidator.rules.envelope.parse import parse
from invalidator.rules.envelope.reading import EVERY, OldRows
from invalidator.runtime.text import shown

PLACEHOLDER: Final = "__debezium_unavailable_value"
_ENCODED: Final = base64.b64encode(PLACEHOLDER.encode()).decode()  # in a column of bytes
_UUID: Final = "b68a35a7-17ad-35b3-af2a-ae46edb4545a"  # in an array of UUIDs: made of its MD5
PLACEHOLDERS: Final = (
    *(PLACEHOLDER, _ENCODED, [PLACEHOLDER], [_ENCODED], [_UUID], {PLACEHOLDER: PLACEHOLDER}),
    [*PLACEHOLDER.encode()],  # an array of numbers: its bytes
    f'{{"{PLACEHOLDER}":"{PLACEHOLDER}"}}',  # hstore as JSON in a text
)
_TEXTS: Final = frozenset(text for text in PLACEHOLDERS if isinstance(text, str))
_MARKS: Final = (PLACEHOLDER.encode(), _ENCODED.encode())

# What Debezium writes into columns that were not sent, besides empty lists and objects. 0 is equal
# to 0.0 and false.
BLANK: Final = frozenset(
    [
        *(None, 0, ""),
        *("0", "0.0", "0.00", "AA==", "{}", "[]", "00:00:00", "00:00:00Z", "P0Y0M0DT0H0M0S"),
        *("1970-01-01", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        "00000000-0000-0000-0000-000000000000",
    ]
)
_ID: Final = ("id", "_id")  # names that only a primary key's column has

_FULL: Final = (
    "set the table's REPLICA IDENTITY to FULL (MongoDB: pre-images); where it is, "
    "envelope: {{old_rows: full}} says so"
)
_NO_BEFORE: Final = (
    f"the old row came without {{name}}: {_FULL}; "
    "or write {{after.{name}}} where the new value is enough"
)
_MAYBE_NEW: Final = (
    "the old row was not sent, and {name} of the record's key may have changed "
    "(message.key.columns): where keys are the primary keys, envelope: {{old_rows: key}} says so; "
    f"else {_FULL}"
)
_NO_ROW: Final = f"the deleted row came without {{name}}: {_FULL}"
_LARGE: Final = "the value of {name} was not sent: large columns are only sent when they change"

Row = dict[str, Any]
Unknown = dict[str, tuple[str, str]]


def is_blank(value: Any) -> bool:
    if isinstance(value, dict):  # a decimal number of any scale
        value = value.get("value", value)
    return not value or (not isinstance(value, list | dict) and value in BLANK)


def unsent(row: Row, key: Iterable[str], defaults: Mapping[str, Any], old_rows: OldRows) -> Unknown:
    """Return the columns of an old row that were probably not sent."""
    if old_rows == "full":
        return {}
    known = [name for name in key if name in row]
    others = [name for name in row if name not in known]
    if old_rows == "key":
        return _without(others)
    filled = [
        name
        for name in others
        if is_blank(row[name]) or (name in defaults and defaults[name] == row[name])
    ]
    partial = [name for name in known if is_blank(row[name])]  # it identifies no row
    return _without(partial + filled) if partial or filled == others else {}


def unsent_of(
    row: Row, key: Row, defaults: Mapping[str, Any], old_rows: OldRows, *, updated: bool
) -> Unknown:
    """Return the columns of an updated or deleted row that were probably not sent."""
    if not updated:
        return unsent(row, key or [*row][:1], defaults, old_rows)
    known = [*key, *(name for name in _ID if name not in key)]
    return unsent(row, known, defaults, old_rows) if key else {}


def _without(names: Iterable[str]) -> Unknown:
    return {name: ("no-before", _NO_ROW.format(name=name)) for name in names}


def defaults_of(event: dict[str, Any]) -> Row:
    """Return the defaults of the columns, where a change event came with its schema."""
    try:
        rows = [entry for entry in event["schema"]["fields"] if entry["field"] == "before"]
        columns = rows[0]["fields"]
        return {entry["field"]: entry["default"] for entry in columns if "default" in entry}
    except (KeyError, TypeError, IndexError):
        return {}


def may_be_large(events: bytes) -> bool:
    """Return whether any of these events may lack a large column that is no list."""
    return _MARKS[0] in events or _MARKS[1] in events


def are_large(row: Row, other: Row = {}) -> bool:  # noqa: B006 - never changed
    """Return whether these rows may lack a large column."""
    try:
        return not (_TEXTS.isdisjoint(row.values()) and _TEXTS.isdisjoint(other.values()))
    except TypeError:  # lists, objects
        return True


def parse_row(value: object) -> Row | None:
    """Return a row; MongoDB's connector writes it as JSON in a text."""
    if isinstance(value, str):
        try:
            value = parse(value)
        except ValueError as error:
            raise Rejected(f"a row is not JSON: {error}", error="not-json") from error
    if value is None or isinstance(value, dict):
        return value
    raise Rejected(f"a row is not an object: {shown(value)}", error="not-object")


def filled_from(after: Row | None, before: Row) -> tuple[Row | None, Unknown]:
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


def without_large(row: Row | None) -> Row | None:
    return row and {name: value for name, value in row.items() if value not in PLACEHOLDERS}


def of_update(
    old: Row, new: Row, key: Row, defaults: Row, old_rows: OldRows
) -> tuple[tuple[Row, Row], Unknown]:
    """Return both rows, and the columns that the old one lacks."""
    if old:
        filled = unsent_of(old, key, defaults, old_rows, updated=True)
        old = {name: value for name, value in old.items() if name not in filled}
    else:  # what identifies the row did not change; the record's key may hold other columns
        unchanged = [name for name in key if name in _ID or old_rows == "key"]
        old = {name: new[name] for name in unchanged if name in new}
    lacking = {name: _MAYBE_NEW if name in key else _NO_BEFORE for name in new if name not in old}
    return (new, old), {
        name: ("no-before", said.format(name=name)) for name, said in lacking.items()
    }


def of_deletion(row: Row | None, key: Row, defaults: Row, old_rows: OldRows) -> tuple[Row, Unknown]:
    """Return a deleted row, and the columns that it lacks."""
    if row:
        return row, unsent_of(row, key, defaults, old_rows, updated=False)
    return key, {EVERY: ("no-before", _NO_ROW.format(name="its columns"))}


def key_of(part: Slice, index: int) -> Row:
    """Return the columns of a record's key; empty if it has none."""
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
