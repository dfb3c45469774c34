"""Mask values that may not be stored, before an event becomes a dead letter.

A path lists fields from the event's root: `data.customer.email`. `*` is any field or list item,
`**` any number of them. `key` and `headers.NAME` belong to the record.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from invalidator.model import Fault, Rejection

MASK: Final = "***"
WITHHELD: Final = "withheld: it quotes a value that is redacted"
UNREADABLE: Final = "*"  # instead of the paths: what cannot be parsed cannot be masked
QUOTED: Final = 12  # characters of a value that are enough to reveal it

Headers = tuple[tuple[str, bytes], ...]


class _Found(Struct):
    """The values that were masked in one event."""

    paths: dict[str, None] = field(default_factory=dict)  # as the settings write them
    values: set[str] = field(default_factory=set)

    def mask(self, path: str, value: Any) -> str:
        self.paths[path] = None
        self.values.update(_texts(value))
        return MASK


class Redactor:
    """Masks the values that the paths name."""

    def __init__(self, paths: Sequence[str] = ()) -> None:
        self._paths = [(path, path.split(".")) for path in paths]

    def masked(self, rejection: Rejection) -> tuple[Rejection, list[str]]:
        """Return the event as it may be stored, and the paths that were masked in it."""
        if not self._paths:
            return rejection, []
        found = _Found()
        record = rejection.record
        record = replace(
            record,
            raw=None if record.raw is None else self._raw(record.raw, found),
            key=self._key(record.key, found),
            headers=self._headers(record.headers, found),
        )
        faults = tuple(_withheld(fault, found) for fault in rejection.faults)
        return replace(rejection, record=record, faults=faults), list(found.paths)

    def _raw(self, raw: bytes, found: _Found) -> bytes | None:
        """Return what was parsed, so that only the last of two fields with one name is left."""
        try:
            return _dumps(self._value(json.loads(raw), found)).encode()
        except (ValueError, RecursionError):  # UnicodeDecodeError among them
            found.paths[UNREADABLE] = None
            return None

    def _value(self, value: Any, found: _Found) -> Any:
        for path, steps in self._paths:
            if path != "key":
                value = _walk(value, steps, partial(found.mask, path))
        return value

    def _key(self, key: bytes | None, found: _Found) -> bytes | None:
        if key is None or not any(steps == ["key"] for _, steps in self._paths):
            return key
        return found.mask("key", key.decode(errors="replace")).encode()

    def _headers(self, headers: Headers, found: _Found) -> Headers:
        return tuple((name, self._header(name, value, found)) for name, value in headers)

    def _header(self, name: str, value: bytes, found: _Found) -> bytes:
        for path, _ in self._paths:
            root, _, wanted = path.partition(".")
            if root == "headers" and wanted in ("*", name):
                return found.mask(path, value.decode(errors="replace")).encode()
        return value


NOTHING: Final = Redactor()


def _walk(value: Any, steps: Sequence[str], mask: Callable[[Any], str]) -> Any:
    """Return the value with everything at these steps masked."""
    if not steps:
        return mask(value)
    if isinstance(value, str):
        return _inside(value, steps, mask)
    step, rest = steps[0], steps[1:]
    if step == "**":
        value = _walk(value, rest, mask)
        rest = steps
    if isinstance(value, dict):
        return {
            name: _walk(each, rest, mask) if step in ("*", "**", name) else each
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [
            _walk(each, rest, mask) if step in ("*", "**", str(at)) else each
            for at, each in enumerate(value)
        ]
    return value


def _inside(text: str, steps: Sequence[str], mask: Callable[[Any], str]) -> str:
    """Mask values within JSON in a string, which Debezium writes for MongoDB."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return _dumps(_walk(json.loads(text), steps, mask))
    except ValueError:
        return text


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _texts(value: Any) -> Iterator[str]:
    """Yield every scalar in a masked value, as a message might quote it."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
    elif value is not None and value != "":
        yield str(value)
        yield repr(value)[1:-1] if isinstance(value, str) else json.dumps(value)


def _withheld(fault: Fault, found: _Found) -> Fault:
    """Return the fault without a message that quotes a masked value, perhaps cut."""
    if UNREADABLE in found.paths or any(v[:QUOTED] in fault.message for v in found.values):
        return replace(fault, message=WITHHELD)
    return fault
