"""One dead letter: the fields of its entry, written and read.

docs/redis-contract.md explains the fields.
"""

import hashlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from msgspec import Struct, to_builtins

from invalidator import __version__
from invalidator.deadletters.redact import NOTHING, Redactor
from invalidator.model import Fault, Record, Rejection
from invalidator.rules.envelope.parse import parse

ID_HEADERS = ("ce_id", "ce-id", "cloudEvents:id")  # of CloudEvents in binary mode

LARGE: Final = 64 << 10  # bytes of an event that is stored compressed
MOST: Final = 256 << 10  # compressed bytes; of an event with more, only the beginning is stored

Fields = Mapping[bytes, bytes]


class Letter(Struct, frozen=True):
    """An entry that was read."""

    id: str  # of the entry
    record: Record  # without raw bytes if there is no event, or it may not be kept
    type: str  # empty if unknown
    event_id: str
    faults: tuple[Fault, ...]  # of the last attempt
    attempts: int  # to apply it
    first_seen: int  # Unix milliseconds
    failed_at: int  # at the last attempt
    rules: str  # the hash of those that rejected it last
    version: str  # of the daemon that did
    redacted: tuple[str, ...] = ()  # the settings' paths that were masked in it
    start: bytes = b""  # of an event that was too large to be stored
    size: int = 0  # of the whole event, where it was large
    sha256: str = ""

    @property
    def lacks(self) -> str:
        """Return why it cannot be replayed as it was received; empty if it can."""
        if self.start:
            return (
                f"only the first {len(self.start):,} of its {self.size:,} bytes were kept "
                f"(SHA-256 {self.sha256})"
            )
        if self.record.raw is None:
            return "its bytes were not kept" if self.redacted else "it holds no event"
        return f"masked in it: {', '.join(self.redacted)}" if self.redacted else ""


def fields_of(
    rejection: Rejection,
    rules_hash: str,
    now_ms: int,
    redactor: Redactor = NOTHING,
    *,
    replayed: Letter | None = None,
) -> Iterator[tuple[str, str | bytes]]:
    """Yield the fields of an entry; one that was `replayed` and rejected again counts on."""
    rejection, masked = redactor.masked(rejection)
    if replayed:
        masked = list(dict.fromkeys([*replayed.redacted, *masked]))
    record, first = rejection.record, rejection.faults[0]
    yield "source", record.source
    yield "origin", record.origin
    yield "position", record.position
    yield "id", _event_id(record)
    yield "type", rejection.type or ""
    yield "rule", first.rule or ""
    yield "what", first.what
    yield "error", first.error
    yield "message", first.message
    yield "faults", orjson.dumps(to_builtins(rejection.faults))
    if record.raw is not None:
        yield from _stored(record.raw)
    if record.key is not None:
        yield "key", record.key
    yield "headers", orjson.dumps([[name, _shown(value)] for name, value in record.headers])
    yield "published_at", str("" if record.time_ms is None else record.time_ms)
    yield "attempts", str(replayed.attempts + 1 if replayed else 1)
    yield "first_seen", str(replayed.first_seen if replayed else now_ms)
    yield "failed_at", str(now_ms)
    yield "rules", rules_hash
    yield "version", __version__
    if masked:
        yield "redacted", orjson.dumps(masked)


def _stored(raw: bytes) -> Iterator[tuple[str, str | bytes]]:
    """Yield the fields of an event: as it is; compressed if large; or its beginning."""
    if len(raw) <= LARGE:
        yield "raw", raw
        return
    packed = zlib.compress(raw, 1)
    whole = len(packed) <= MOST
    yield ("raw_zlib", packed) if whole else ("raw_start", raw[:LARGE])
    yield "raw_size", str(len(raw))
    yield "raw_sha256", hashlib.sha256(raw).hexdigest()


def _raw(fields: Fields) -> bytes | None:
    """Return the event as it was received; None if it is not whole, or there is none."""
    packed = fields.get(b"raw_zlib")
    if packed is None:
        return fields.get(b"raw")
    try:  # never more than was said: a few bytes may hold gigabytes
        return zlib.decompressobj().decompress(packed, _number(fields, b"raw_size", LARGE))
    except zlib.error:
        return None


def letter_of(entry: bytes, fields: Fields) -> Letter:
    """Return the entry; fields that another program wrote are read as far as possible."""
    failed_at = _number(fields, b"failed_at", int(entry.partition(b"-")[0]))
    published = _number(fields, b"published_at", -1)
    record = Record(
        _text(fields, b"source"),
        _text(fields, b"origin"),
        _text(fields, b"position"),
        _raw(fields),
        fields.get(b"key"),
        tuple((str(name), _bytes(value)) for name, value in _pairs(fields)),
        None if published < 0 else published,
    )
    return Letter(
        entry.decode(),
        record,
        _text(fields, b"type"),
        _text(fields, b"id"),
        _faults(fields),
        _number(fields, b"attempts", 1),
        _number(fields, b"first_seen", failed_at),
        failed_at,
        _text(fields, b"rules"),
        _text(fields, b"version"),
        tuple(map(str, _json(fields, b"redacted"))),
        fields.get(b"raw_start", b""),
        _number(fields, b"raw_size", 0),
        _text(fields, b"raw_sha256"),
    )


def plain(letter: Letter) -> dict[str, Any]:
    """Return the letter for JSON: bytes as text if they are text, otherwise in base64."""
    record = letter.record
    return {
        "entry": letter.id,
        "source": record.source,
        "origin": record.origin,
        "position": record.position,
        "id": letter.event_id,
        "type": letter.type,
        "faults": to_builtins(letter.faults),
        "raw": None if record.raw is None else _shown(record.raw),
        "key": None if record.key is None else _shown(record.key),
        "headers": [[name, _shown(value)] for name, value in record.headers],
        "published_at": record.time_ms,
        "attempts": letter.attempts,
        "first_seen": letter.first_seen,
        "failed_at": letter.failed_at,
        "rules": letter.rules,
        "version": letter.version,
        "redacted": letter.redacted,
        **({"size": letter.size, "sha256": letter.sha256} if letter.size else {}),
        **({"start": _shown(letter.start)} if letter.start else {}),
    }


def _shown(value: bytes) -> str | dict[str, str]:
    """Return any bytes for JSON, so that they can be restored exactly."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _bytes(shown: object) -> bytes:
    if not isinstance(shown, dict):
        return str(shown).encode()
    try:
        return b64decode(str(shown.get("base64", "")))
    except ValueError:
        return b""


def _event_id(record: Record) -> str:
    """Return the id in the headers or the event; empty if there is none."""
    headers = dict(record.headers)
    for name in ID_HEADERS:
        if name in headers:
            return headers[name].decode(errors="backslashreplace")
    try:
        found = parse(record.raw or b"")
    except ValueError:
        return ""
    named = found.get("id") if isinstance(found, dict) else None
    return str(named) if isinstance(named, str | int) else ""


# --- fields that another program may have written ---------------------------------------------


def _text(fields: Fields, name: bytes) -> str:
    return fields.get(name, b"").decode(errors="backslashreplace")


def _number(fields: Fields, name: bytes, otherwise: int) -> int:
    text = fields.get(name, b"")
    return int(text) if text.isdigit() else otherwise


def _json(fields: Fields, name: bytes) -> Sequence[Any]:
    try:
        found = orjson.loads(fields.get(name, b"[]"))
    except orjson.JSONDecodeError:
        return []
    return found if isinstance(found, list) else []


def _pairs(fields: Fields) -> Iterator[tuple[Any, Any]]:
    for pair in _json(fields, b"headers"):
        if isinstance(pair, list) and len(pair) == 2:
            yield pair[0], pair[1]


def _faults(fields: Fields) -> tuple[Fault, ...]:
    found = []
    for entry in _json(fields, b"faults"):
        if isinstance(entry, dict):
            said = {name: str(entry.get(name) or "") for name in ("error", "message", "what")}
            rule = entry.get("rule")
            found.append(Fault(said["error"], said["message"], rule and str(rule), said["what"]))
    first = Fault(_text(fields, b"error"), _text(fields, b"message"))
    return tuple(found) or (first,)
