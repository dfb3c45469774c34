"""Recognize the format of a record and unwrap the event in it."""

from functools import partial
from typing import Any, Final

import msgspec

from invalidator.errors import Rejected
from invalidator.model import OWN_EVENTS, Slice
from invalidator.rules.envelope import cloudevents, debezium
from invalidator.rules.envelope.parse import parse
from invalidator.rules.envelope.reading import AUTO, Envelope, Reading, at, opened, type_of
from invalidator.runtime.text import shown

_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_FRAME: Final = 5  # a zero byte and the schema's number, as schema registries frame values
_AVRO: Final = (b"\xc3\x01", b"Obj\x01")  # how a single object and a container file begin
_BINARY: Final = {
    "avro": "Avro",
    "protobuf": "Protobuf",
    "avro-or-protobuf": "Avro or Protobuf",  # in the frame of a schema registry
}
_HEAD: Final = 256  # bytes in which a frame shows
_FRAMED: Final = (
    (
        *(b"\x89BIN\r\n\x1a\n", "faststream"),
        "the record has FastStream's binary frame: publish with message_format=JSONMessageFormat, "
        "and read it by envelope: {type: data.type, data: data.data}",
    ),
    (
        *(b"_watermill_message_uuid", "watermill"),
        "the entry is of watermill, whose metadata is msgpack: give the publisher a marshaller "
        "that writes the payload into a field called event",
    ),
)


def decode(raw: bytes, limit: int, part: Slice, index: int) -> Any:
    """Return a record's JSON, or raise Rejected with the reason why it is none."""
    if len(raw) > limit:
        said = f"the event has {len(raw)} bytes, more than {limit}"
        raise Rejected(said, error="too-large")
    try:
        return parse(raw)
    except ValueError as error:
        try:
            if raw[:1] == b"\0" and raw[_FRAME : _FRAME + 1] in (b"{", b"["):
                return parse(raw[_FRAME:])
        except ValueError:
            pass
        raise _not_json(raw, headers_at(part, index), error) from error


def _not_json(raw: bytes, headers: Any, error: ValueError) -> Rejected:
    """Name the format that a record has instead of JSON."""
    for mark, error_word, said in _FRAMED:
        if mark in raw[:_HEAD]:
            return Rejected(said, error=error_word)
    found = _declared(headers) or ("avro" if raw.startswith(_AVRO) else "")
    if not found and raw[:1] == b"\0" and len(raw) > _FRAME:
        found = "avro-or-protobuf"
    if not found:
        return Rejected(f"not JSON: {error}", error="not-json")
    said = "only JSON is read: use the JSON converter, or let the producer write JSON"
    return Rejected(f"the record is {_BINARY[found]}; {said}", error=found)


def _declared(headers: Any) -> str:
    for name, value in headers:
        if name.lower().replace("-", "").replace("_", "") in ("contenttype", "cedatacontenttype"):
            for word in ("avro", "protobuf"):
                if word in (value or b"").decode("latin-1").lower():
                    return word
    return ""


def elements_of(raw: bytes | None, envelope: Envelope, limit: int) -> list[bytes] | None:
    """Return the events of a record that is a list of them; None if it is one event."""
    if not raw or raw.lstrip()[:1] != b"[" or len(raw) > limit or envelope.is_indexed:
        return None
    try:
        found = [bytes(element) for element in _ELEMENTS(raw)]
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if found and all(element[:1] == b"{" for element in found) else None


def in_binary_mode(part: Slice, envelope: Envelope) -> bool:
    """Return whether a slice holds CloudEvents in binary mode, whose type is in headers."""
    if envelope.format not in (AUTO, "cloudevents") or not part.values:
        return False
    headers = part.headers or (part.record(0).headers,)
    return any(name in cloudevents.TYPES for entry in headers for name, _ in entry)


def headers_at(part: Slice, index: int) -> Any:
    return part.headers[index] if part.headers else part.record(index).headers


def unwrap(
    event: Any, envelope: Envelope, part: Slice, index: int, *, binary: bool
) -> Reading | None:
    """Return a decoded record as an event; None if there is nothing to do.

    With `binary` its headers may hold the type.
    """
    form = envelope.format
    if isinstance(event, str):
        event = opened(event)
    if own := _own(event, envelope.first):
        return own
    if binary:
        attributes = cloudevents.attributes(headers_at(part, index))
        if attributes:
            return cloudevents.binary(event, attributes)
    if _is_null(event):
        deleted = debezium.of_key(part, index)
        if deleted or event is not None:
            return deleted  # else a tombstone, wrapped in a schema
    if isinstance(event, list) and envelope.is_indexed:
        return _plain(event, envelope, part, index)
    if not isinstance(event, dict):
        said = f"the event is not an object: {shown(event)}"
        if isinstance(event, list) and len(event) > 1 and isinstance(event[0], str):
            said += "; perhaps envelope: {type: '[0]', data: '[1]'}"
        raise Rejected(said, error="not-object")
    if form == "debezium" or (form == AUTO and not _says_type(event, envelope.first)):
        if kind := debezium.notice(event, part.origin):
            return Reading(kind, event, event, ({},), named=True)
        if form == "debezium" or debezium.is_change(event):
            return debezium.read_change(event, part, index, envelope.old_rows)
    if form == "cloudevents" or (form == AUTO and "specversion" in event):
        if "iodebeziumop" in event:
            change = debezium.of_cloud_event(event)
            return debezium.read_change(change, part, index, envelope.old_rows)
        return cloudevents.structured(event)
    return _plain(event, envelope, part, index)


def _is_null(event: Any) -> bool:
    """Return whether this is null, also with a schema around it."""
    if isinstance(event, dict):
        return event.keys() == {"schema", "payload"} and event["payload"] is None
    return event is None


def _says_type(event: dict[str, Any], first: str | None) -> bool:
    kind = event.get(first) if first else None
    return isinstance(kind, str) and kind != ""


def _own(event: Any, first: str | None) -> Reading | None:
    """Read one of our own events: they are plain, however those of the source are wrapped."""
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, str) or kind not in OWN_EVENTS:
        return None
    if first != "type" and _says_type(event, first):
        return None  # of somebody else, with its type in another field
    data = event.get("data")
    return Reading(kind, data, event) if isinstance(data, dict) else None


def _plain(event: Any, envelope: Envelope, part: Slice, index: int) -> Reading:
    headers = partial(_texts, part, index)
    found = type_of(event, envelope.types, headers)
    if not found and envelope.data == AUTO and _has_schema(event):
        event = event["payload"]
        found = type_of(event, envelope.types, headers)
    kind, guessed = found or part.origin, not found
    around = event if isinstance(event, dict) else {}
    data = opened(at(event, "data" if envelope.data == AUTO else envelope.data))
    if not isinstance(data, dict):
        if envelope.data != AUTO:
            said = f"data: is {envelope.data}, where the event has no object: {shown(data)}"
            raise Rejected(said, error="no-data")
        data = around
    if "__deleted" in data or "__op" in data:
        return debezium.of_unwrapped(data, around, kind, part, index, envelope, guessed=guessed)
    return Reading(kind, data, around, guessed=guessed)


def _has_schema(event: Any) -> bool:
    """Return whether this is an object with the schema that Kafka Connect puts around it."""
    if not isinstance(event, dict) or event.keys() != {"schema", "payload"}:
        return False
    return isinstance(event["payload"], dict)


def _texts(part: Slice, index: int) -> dict[str, str]:
    """Return headers as text; the first of each name counts."""
    found: dict[str, str] = {}
    for name, value in headers_at(part, index):
        text = (value or b"").decode("utf-8", "replace")
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]  # as JSON converters of headers write it
        found.setdefault(name, text)
    return found
