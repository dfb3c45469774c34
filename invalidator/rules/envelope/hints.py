"""Suggest an `envelope:` for events whose type was not found."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from invalidator.rules.envelope.reading import at, opened, type_of
from invalidator.runtime.text import visible

SHOWN: Final = 12  # fields that a message names
LENGTH: Final = 40  # characters of each

# Where known software puts the type and the data; empty: data as by default.
_KNOWN: Final = (
    ("{metadata.table-name}.{metadata.operation}", ""),
    ("{metadata.table_name}.{action}", "record"),
    ("detail-type", "detail"),
    ("{ns.coll}.{operationType}", "fullDocument"),
    ("{table.name}.{event.op}", "event.data.new"),
    ("{table}.{op_type}", ""),
    ("{table}.{action}", ""),
    ("{__table}.{__op}", ""),
    ("Records[0].eventName", ""),
    ("Message.type", "Message.data"),
    ("message.data.type", "message.data.data"),
    ("message.attributes.eventType", "message.data"),
    ("messageType[0]", "message"),
    ("headers.task", "body[1]"),
    ("message.headers.type", "message.body"),
    ("headers.type", "body"),
    ("__data__.data.type", "__data__.data.data"),
)
_TYPES: Final = (
    *("pattern", "eventType", "event_type", "EventType", "eventName", "event_name", "messageType"),
    *("message_type", "@type", "$type", "_type", "__type", "kind", "object_kind", "topic"),
    *("action", "subject", "routingKey", "routing_key", "method", "Type", "name"),
)
_AROUND: Final = ("metadata", "meta", "header", "headers", "envelope", "attributes", "context")
_BODIES: Final = (
    *("payload", "body", "detail", "message", "Message", "record", "attributes", "content"),
    *("Data", "params", "properties", "object", "resource"),
)
_HEADER: Final = re.compile(r"type|event|topic", re.IGNORECASE)
_WORD: Final = re.compile(r"[A-Za-z_][\w.-]*")


def hint(event: Any, headers: Iterable[str]) -> str:
    """Return what fields an event has, and the envelope that it probably needs."""
    fields = [visible(name, LENGTH) for name in event] if isinstance(event, dict) else []
    said = ", ".join(fields[:SHOWN]) + (", …" if len(fields) > SHOWN else "")
    found = next(_fitting(event, headers), None)
    fits = f"; perhaps envelope: {{{line(*found)}}}" if found else ""
    return f"its fields are {said or 'none'}{fits}"


def line(kind: str, data: str) -> str:
    """Return an envelope as rules files have it."""
    return f"type: {_quoted(kind)}" + (f", data: {_quoted(data)}" if data else "")


def _quoted(path: str) -> str:
    return path if _WORD.fullmatch(path) else f"'{path}'"


def _fitting(event: Any, headers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield where type and data probably are, the best guess first."""
    for kind, data in _KNOWN:
        if type_of(event, (kind,)) and (not data or _is_object(at(event, data))):
            yield kind, data
    body = next((name for name in _BODIES if _is_object(at(event, name))), "")
    data = "" if at(event, "data") is not None else body
    for around in ("", *(f"{name}." for name in _AROUND)):
        for name in (*_TYPES, "type"):
            if type_of(event, (around + name,)):
                yield around + name, data
    for name in headers:
        if _HEADER.search(name) and "content" not in name.lower():
            shown = visible(name, LENGTH)
            yield f'headers["{shown}"]' if "." in shown else f"headers.{shown}", data


def _is_object(value: Any) -> bool:
    return isinstance(opened(value), dict)
