"""Records that are no JSON: Avro and Protobuf are told apart from what is broken."""

from collections.abc import Iterable
from typing import Any, Final

from invalidator.errors import Rejected
from invalidator.rules.envelope.parse import parse

_SAID: Final = {
    "avro": "the record is Avro; only JSON is read: use the JSON converter or a JSON schema",
    "protobuf": "the record is Protobuf; only JSON is read: let the producer write JSON",
}
_FRAME: Final = 5  # a zero byte and the schema's number, as schema registries frame values
FIELDS: Final = 1000  # of Protobuf that are looked at: reading a large event takes its time


def framed_json(raw: bytes) -> Any:
    """JSON behind a schema registry's frame; None where it is none."""
    if raw[:1] == b"\0" and raw[_FRAME : _FRAME + 1] in (b"{", b"["):
        try:
            return parse(raw[_FRAME:])
        except ValueError:
            return None
    return None


def rejected(raw: bytes, headers: Iterable[tuple[str, bytes]], error: ValueError) -> Rejected:
    """Why a record is no JSON, as exactly as can be told."""
    found = _declared(headers) or _told(raw)
    return Rejected(_SAID.get(found, f"not JSON: {error}"), error=found)


def _declared(headers: Iterable[tuple[str, bytes]]) -> str | None:
    for name, value in headers:
        if name.lower().replace("-", "").replace("_", "") in ("contenttype", "cedatacontenttype"):
            for word in ("avro", "protobuf"):
                if word in (value or b"").decode("latin-1").lower():
                    return word
    return None


def _told(raw: bytes) -> str:
    if raw[:2] == b"\xc3\x01" or raw[:4] == b"Obj\x01":
        return "avro"  # a single object, a container file
    if raw[:1] == b"\0" and len(raw) > _FRAME:
        return "protobuf" if _behind_indexes(raw[_FRAME:]) else "avro"
    return "protobuf" if _wire(raw) else "not-json"


def _behind_indexes(body: bytes) -> bool:
    """A frame's Protobuf starts with the message's indexes: mostly one zero byte for [0]."""
    if body[:1] == b"\0":
        return _wire(body[1:])
    count = body[0] >> 1
    return 0 < count < 8 and _wire(body[1 + count :])


def _wire(body: bytes) -> bool:
    """Whether all bytes read as Protobuf fields; of many, the first."""
    at, size = 0, len(body)
    for _ in range(FIELDS):
        if at >= size:
            return at == size and size > 1
        tag, at = _varint(body, at)
        number, kind = tag >> 3, tag & 7
        if tag < 0 or not 0 < number < 1 << 29:
            return False
        if kind == 0:
            value, at = _varint(body, at)
            if value < 0:
                return False
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            length, at = _varint(body, at)
            if length < 0:
                return False
            at += length
        else:
            return False
    return True


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; -1 where there is none."""
    value = shift = 0
    while at < len(body) and shift < 64:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return -1, at
