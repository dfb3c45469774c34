"""Read change events fast whose rows were sent whole; the others are for `debezium`."""

from typing import Any

from msgspec import Raw

from invalidator.model import Slice
from invalidator.rules.envelope import rows
from invalidator.rules.envelope.parse import decode_json
from invalidator.rules.envelope.reading import OldRows
from invalidator.rules.envelope.rows import BLANK, PLACEHOLDERS, Row, are_large, is_blank

# Its type, the new row (of a deleted one: its last state), the old row of an update, and the event
# without a schema. A bare tuple: there is one for each change event.
Rows = tuple[str, Row, Row | None, dict[str, Any]]


class WholeRows:
    """Reads the change events of one envelope."""

    def __init__(self, kind: str, old_rows: OldRows) -> None:
        """`kind` is the field in which a plain event would have its type."""
        self._kind = kind
        self._old_rows = old_rows
        self._schema = b""  # the last one: most events have that of the event before
        self._defaults = True  # whether its columns may have any

    def read(self, event: dict[str, Any], part: Slice, index: int, *, large: bool) -> Rows | None:
        """Return the rows; return None or raise anything where `read_change` must read them.

        One of our own events has its type in `type`. Unless `large`, no large column is missing.
        """
        if self._kind in event or "type" in event:
            return None
        wrapped = "schema" in event
        body = event["payload"] if wrapped else event
        table, op = body["source"]["table"], body["op"]
        if type(table) is not str or not table or "id" in body or (wrapped and "op" in event):
            return None
        if op == "c":
            new = body["after"]
            if type(new) is dict and body.get("before") is None and not (large and are_large(new)):
                return table + ".created", new, None, body
            return None
        old = body["before"]
        if type(old) is not dict or self._old_rows == "key":
            return None
        try:
            doubtful = not BLANK.isdisjoint(old.values())
        except TypeError:  # lists, objects
            values = (*old.values(), *(body["after"] or {}).values())
            if any(value in PLACEHOLDERS for value in values):
                return None
            doubtful = any(map(is_blank, old.values()))
        doubtful = doubtful or (wrapped and self._have_defaults(event["schema"]))
        if doubtful and self._old_rows != "full" and not _was_sent(part, index, large=large):
            return None
        if op == "u":
            new = body["after"]
            if (
                type(new) is dict
                and new.keys() <= old.keys()
                and not (large and are_large(new, old))
            ):
                return table + ".updated", new, old, body
        elif op == "d" and body.get("after") is None and old and not (large and are_large(old)):
            return table + ".deleted", old, None, body
        return None

    def _have_defaults(self, schema: object) -> bool:
        """Return whether columns may have a default, as far as this is seen without decoding."""
        if type(schema) is not Raw:
            return True
        text = bytes(schema)
        if text != self._schema:
            self._schema = text
            self._defaults = b'"default"' in text[: text.rfind(b'"before"')]
        return self._defaults


def _was_sent(part: Slice, index: int, *, large: bool) -> bool:
    """Return whether an old row was sent whole, though columns of it are blank."""
    event = decode_json(part.values[index] or b"")
    body = event["payload"] if "schema" in event else event
    old = rows.without_large(body["before"]) if large else body["before"]
    key, defaults = rows.key_of(part, index), rows.defaults_of(event)
    updated = body["op"] == "u"
    return not rows.unsent_of(old or {}, key, defaults, "auto", updated=updated)
