"""Debezium change events: rows before and after, with and without the schema around them.

A row that moves from one team to another makes the caches of both stale, so names are looked up
in both rows. Where the old value of a column was not sent (Postgres' default replica identity,
large columns that did not change), a rule that needs it must not pass silently.
"""

from typing import Any, Final

from invalidator.errors import Rejected
from invalidator.model import Slice
from invalidator.rules.envelope import rows
from invalidator.rules.envelope.reading import EVERY, Envelope, OldRows, Reading
from invalidator.rules.envelope.rows import Row, Unknown

VERBS: Final = {"c": "created", "u": "updated", "d": "deleted", "r": "read", "t": "truncated"}
NAMED_ONLY: Final = frozenset(["r", "t"])
_UNWRAPPED: Final = (
    "the row was deleted, and only its key was sent: give ExtractNewRecordState "
    "delete.tombstone.handling.mode=rewrite and add.fields=op,table"
)


def notice(event: dict[str, Any], origin: str) -> str | None:
    """Return the type of an event of Debezium that is about no row."""
    body = event["payload"] if isinstance(event.get("payload"), dict) else event
    if body.get("op") == "m" and "message" in body:
        return "debezium.message"
    if body.keys() >= {"status", "id", "event_count", "data_collections"}:
        return "debezium.transaction"
    if body.keys() >= {"source", "databaseName", "ddl"}:
        return "debezium.schema-change"
    if body.keys() == {"ts_ms"} and "heartbeat" in origin:
        return "debezium.heartbeat"
    return None


def of_cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return the change event that Debezium's converter for CloudEvents took apart."""
    data = event.get("data")
    if isinstance(data, dict) and isinstance(data.get("payload"), dict):
        event, data = {"schema": data.get("schema"), **event}, data["payload"]
    source = {
        name.removeprefix("iodebezium"): value
        for name, value in event.items()
        if name.startswith("iodebezium")
    }
    rows = data if isinstance(data, dict) else {}
    return {**rows, "op": event["iodebeziumop"], "source": source, "schema": event.get("schema")}


def of_key(part: Slice, index: int) -> Reading | None:
    """Return the deletion of a row of which nothing but the record's key is left."""
    key = rows.key_of(part, index)
    if not key:
        return None
    table = part.origin.rpartition(".")[2]
    kinds = (part.origin, f"{table}.deleted", f"{table}.d", table)
    return Reading(part.origin, key, {}, (key,), {EVERY: ("no-before", _UNWRAPPED)}, kinds=kinds)


def of_unwrapped(
    row: dict[str, Any],
    around: dict[str, Any],
    kind: str,
    part: Slice,
    index: int,
    envelope: Envelope,
    *,
    guessed: bool,
) -> Reading:
    """Return a row that ExtractNewRecordState flattened; of a deleted one not all is trusted."""
    unknown: Unknown = {}
    if row.get("__deleted") in ("true", True) or row.get("__op") == "d":
        columns = {name: value for name, value in row.items() if not name.startswith("__")}
        key = rows.key_of(part, index)
        _, unknown = rows.of_deletion(columns, key, {}, envelope.old_rows)
    return Reading(kind, row, around, (row,), unknown, guessed=guessed)


def is_change(event: dict[str, Any]) -> bool:
    """Return whether this is a change event, by fields that only Debezium writes together."""
    body = event.get("payload") if "schema" in event and "payload" in event else event
    return (
        isinstance(body, dict)
        and isinstance(body.get("op"), str)
        and body["op"] in VERBS
        and isinstance(body.get("source"), dict)
        and ("after" in body or "before" in body or body["op"] == "t")
    )


def read_change(event: dict[str, Any], part: Slice, index: int, old_rows: OldRows) -> Reading:
    body = event.get("payload") if "payload" in event and "op" not in event else event
    op = body.get("op") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(op, str) or op not in VERBS:
        raise Rejected(f"not a change event: its op is {op!r}", error="not-debezium")
    before, after = rows.parse_row(body.get("before")), rows.parse_row(body.get("after"))
    after, large = rows.filled_from(after, before or {})
    source = body.get("source") if isinstance(body.get("source"), dict) else {}
    kind = f"{_table(source or {}, part.origin)}.{VERBS[op]}"
    around = {**body, "id": None, "before": before, "after": after, "source": source}
    if large:
        before, after = rows.without_large(before), rows.without_large(after)
    images: tuple[Row, ...] = (after or before or {},)
    unknown: Unknown = {}
    if op in "ud":
        key, defaults = rows.key_of(part, index), rows.defaults_of(event)
        if op == "u":
            images, unknown = rows.of_update(before or {}, after or {}, key, defaults, old_rows)
        else:
            row, unknown = rows.of_deletion(before, key, defaults, old_rows)
            images = (row,)
    return Reading(kind, images[0], around, images, {**unknown, **large}, named=op in NAMED_ONLY)


def _table(source: dict[str, Any], origin: str) -> str:
    for name in ("table", "collection"):
        found = source.get(name)
        if isinstance(found, str) and found:
            return found
    return origin.rpartition(".")[2]
