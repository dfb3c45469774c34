"""What generated code reads of an event besides its data."""

import re
from typing import Any, Final

from invalidator.errors import Rejected
from invalidator.model import Slice
from invalidator.rules.condition import ConditionError
from invalidator.rules.envelope import extensions
from invalidator.runtime.text import shown
from invalidator.templates import values

_SEPARATOR: Final = re.compile(r"[.:]")

segments = _SEPARATOR.split  # of an event's type


def own(template: str, name: str) -> Rejected:
    said = f"the name is one of invalidator's own: {shown(name)}"
    return Rejected(said, error="own-name", what=template)


def headers_of(part: Slice, index: int) -> dict[str, str | bytes]:
    """Return a record's headers; the first of each name counts."""
    found: dict[str, str | bytes] = {}
    for name, value in part.record(index).headers:
        found.setdefault(name, _as_text(value or b""))  # Kafka knows null
    return found


def key_of(part: Slice, index: int) -> str | bytes | None:
    key = part.record(index).key
    return None if key is None else _as_text(key)


def _as_text(raw: bytes) -> str | bytes:
    """Decode UTF-8; other bytes stay bytes, which no template accepts."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def row_of(name: str, event: dict[str, Any], data: dict[str, Any]) -> dict[str, Any] | None:
    """Return the row before or after a change; plain events carry it next to or in their data."""
    row = event.get(name)
    if type(row) is not dict:
        row = data.get(name)
    return row if type(row) is dict else None


def source_of(event: dict[str, Any], part: Slice) -> str:
    """Return the event's own source, else the topic, channel or stream that it came from."""
    source = event.get("source")
    return source if type(source) is str and source else part.origin


HELPERS: Final[dict[str, Any]] = {
    **values.HELPERS,
    **{
        helper.__name__: helper
        for helper in (headers_of, key_of, row_of, source_of, own, ConditionError)
    },
    "segments": segments,
    "extensions_of": extensions,
}
