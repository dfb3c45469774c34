"""What generated code calls where its fast way does not fit: exact checks, exact reasons."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import orjson
from msgspec import Struct

from invalidator.errors import Rejected
from invalidator.model import Slice
from invalidator.rules.condition import ConditionError
from invalidator.rules.envelope import extensions
from invalidator.runtime.text import shown
from invalidator.templates import Step

MAX_NAME: Final = 1024  # characters of one name

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_GLOB: Final = re.compile(r"([\\*?\[\]])")
_SEPARATOR: Final = re.compile(r"[.:]")

segments = _SEPARATOR.split  # of an event's type


class Field(Struct, frozen=True):
    """One slot of a template, as generated code reaches for it."""

    template: str
    path: str  # as written, without the braces
    root: str
    steps: tuple[Step, ...]  # from the object it is looked up in
    optional: bool = False
    default: str | None = None

    def absent(self, start: object) -> Any:
        """The lookup failed: what stands in for the value, or why there is none."""
        if self.default is not None:
            return self.default
        if self.optional:
            return None
        raise self._explain(start)

    def text(self, value: object) -> Any:
        """The value as text, by the exact rules. None: this template gives no name."""
        if value is True or value is False:
            return "true" if value else "false"
        if value is None or value == "":
            if self.default is not None or self.optional:
                return self.default
            if value is None:
                raise self._rejected("null-field", f"{self.path} is null")
            raise self._rejected("empty-field", f"{self.path} is empty")
        if type(value) is int:
            return value
        if type(value) is not str:
            said = f"{self.path} is {_kind(value)} where text or an integer belongs"
            raise self._rejected("not-scalar", f"{said}: {shown(value)}")
        if _CONTROL.search(value):
            said = f"{self.path} has a control character: {shown(value)}"
            raise self._rejected("control-character", said)
        return value

    def present(self, value: object, write: Callable[[object], str]) -> Any:
        """A value of any kind, written by a filter."""
        spoken = value is not None and type(value) is not bytes  # a key or header may be no text
        if not spoken or (value == self.default and self.default is not None):
            return self.text(value)
        text = write(value)
        return text if text.isprintable() else self.text(text)

    def filled(self, text: str) -> str:
        """A text that a filter may have emptied."""
        if text:
            return text
        raise self._rejected("empty-field", f"{self.path} is empty after its filters")

    def each(self, value: object, most: int) -> list[Any]:
        """The elements of a list."""
        if type(value) is not list:
            if value is None and self.optional:
                return []
            if value is None:
                raise self._rejected("null-field", f"{self.path} is null")
            said = f"{self.path} is {_kind(value)} where a list belongs: {shown(value)}"
            raise self._rejected("not-list", said)
        if len(value) > most:
            raise too_many(self.template, most)
        return value

    def _explain(self, start: object) -> Rejected:
        """Says where the way to the value ends."""
        value: Any = start
        walked = "" if self.root == "data" else self.root
        for step in self.steps:
            if not _holds(value, step):
                return self._rejected("missing-field", self._ends(value, walked, step))
            value = value[step]
            walked = joined(walked, step)
        return self._rejected("missing-field", f"{self.path} cannot be looked up")

    def _ends(self, value: object, walked: str, step: Step) -> str:
        wanted = joined("", step)
        if isinstance(value, dict):
            return f"{walked or 'the event'} has no {wanted}"
        if isinstance(value, list) and isinstance(step, int):
            return f"{walked} has {len(value)} elements, none at {wanted}"
        return f"{walked or 'the event'} is {_kind(value)}, so it has no {wanted}: {shown(value)}"

    def _rejected(self, error: str, message: str) -> Rejected:
        return Rejected(message, error=error, what=self.template)


def _holds(value: object, step: Step) -> bool:
    if isinstance(step, int):
        return isinstance(value, list) and step < len(value)
    return isinstance(value, dict) and step in value


def joined(walked: str, step: Step) -> str:
    if isinstance(step, str):
        return f"{walked}.{step}" if walked else step
    return f"{walked}[{'' if step is None else step}]"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", float: "a float", str: "text", bool: "a boolean",
             bytes: "no UTF-8 text"}  # fmt: skip
    return kinds.get(type(value), "a number")


def too_long(template: str, name: str) -> Rejected:
    said = f"the name has {len(name)} characters, more than {MAX_NAME}: {shown(name)}"
    return Rejected(said, error="too-long", what=template)


def too_many(what: str, most: int) -> Rejected:
    return Rejected(f"{what} gives more names than max_keys: {most}", error="too-many", what=what)


def own(template: str, name: str) -> Rejected:
    said = f"the name is one of invalidator's own: {shown(name)}"
    return Rejected(said, error="own-name", what=template)


def nth(value: object, index: int) -> Any:
    """An element of a list; of nothing else, texts have none."""
    if type(value) is not list:
        raise TypeError
    return value[index]


def escape(text: str) -> str:
    """A value inside a pattern: it matches only itself."""
    return _GLOB.sub(r"\\\1", text)


def headers_of(part: Slice, index: int) -> dict[str, str | bytes]:
    """A record's headers; the first of each name counts."""
    found: dict[str, str | bytes] = {}
    for name, value in part.record(index).headers:
        found.setdefault(name, _as_text(value or b""))  # Kafka knows null
    return found


def key_of(part: Slice, index: int) -> str | bytes | None:
    key = part.record(index).key
    return None if key is None else _as_text(key)


def _as_text(raw: bytes) -> str | bytes:
    """What is no text stays bytes, which no template takes: it would name something else."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def row_of(name: str, event: dict[str, Any], data: dict[str, Any]) -> dict[str, Any] | None:
    """The row before or after a change; plain events may carry it beside or inside their data."""
    row = event.get(name)
    if type(row) is not dict:
        row = data.get(name)
    return row if type(row) is dict else None


def source_of(event: dict[str, Any], part: Slice) -> str:
    """The event's own source, else where it came from."""
    source = event.get("source")
    return source if type(source) is str and source else part.origin


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def urlencode(text: str) -> str:
    """As encodeURIComponent and urllib's quote(safe='') do, up to !'()*."""
    return quote(text, safe="")


def as_json(value: object, *, sort: bool = False) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort else None).decode()
    except TypeError:  # integers over 64 bits
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort)


def as_sorted_json(value: object) -> str:
    return as_json(value, sort=True)


HELPERS: Final[dict[str, Any]] = {
    helper.__name__: helper
    for helper in (
        *(nth, escape, headers_of, key_of, row_of, source_of, too_long, too_many, own),
        *(md5, sha1, sha256, urlencode, as_json, as_sorted_json, ConditionError),
    )
}
HELPERS["segments"] = segments
HELPERS["extensions_of"] = extensions
