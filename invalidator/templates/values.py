"""How values become text in names: exact checks and exact reasons.

Generated code calls these where its fast way does not fit.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

import orjson
from msgspec import Struct

from invalidator.errors import Rejected
from invalidator.runtime.text import shown
from invalidator.templates.filters import TEXT_FILTERS
from invalidator.templates.language import Step

MAX_NAME: Final = 1024  # characters of one name

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_GLOB: Final = re.compile(r"([\\*?\[\]])")


class Field(Struct, frozen=True):
    """One slot of a template, as generated code reaches for it."""

    template: str
    path: str  # as written, without the braces
    root: str
    steps: tuple[Step, ...]  # from the object it is looked up in
    optional: bool = False
    default: str | None = None

    def absent(self, start: object) -> Any:
        """Return what stands in for a value that is missing; raise Rejected if nothing does."""
        if self.default is not None:
            return self.default
        if self.optional:
            return None
        raise self._explain(start)

    def text(self, value: object) -> Any:
        """Return the value as text, by the exact rules. None: this template gives no name."""
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
        """Return a value of any kind, written by a filter."""
        spoken = value is not None and type(value) is not bytes  # a key or header may be no text
        if not spoken or (value == self.default and self.default is not None):
            return self.text(value)
        text = write(value)
        return text if text.isprintable() else self.text(text)

    def filled(self, text: str) -> str:
        """Return a text; raise Rejected if a filter has emptied it."""
        if text:
            return text
        raise self._rejected("empty-field", f"{self.path} is empty after its filters")

    def each(self, value: object, most: int) -> list[Any]:
        """Return the elements of a list."""
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
        """Return the reason: where the way to the value ends."""
        value: Any = start
        walked = "" if self.root == "data" else self.root
        for step in self.steps:
            if not _holds(value, step):
                said = self._ends(value, walked, step)
                path = self.root, self.steps
                return Rejected(said, error="missing-field", what=self.template, path=path)
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
    """Return a path, one step longer, as an author writes it."""
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


def nth(value: object, index: int) -> Any:
    """Return an element of a list; raise TypeError for anything else, texts included."""
    if type(value) is not list:
        raise TypeError
    return value[index]


def escape(text: str) -> str:
    """Escape a value for use in a pattern, where it matches only itself."""
    return _GLOB.sub(r"\\\1", text)


def as_json(value: object, *, sort: bool = False) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort else None).decode()
    except TypeError:  # integers over 64 bits
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort)


def as_sorted_json(value: object) -> str:
    return as_json(value, sort=True)


HELPERS: Final[dict[str, Any]] = {
    **{
        helper.__name__: helper
        for helper in (nth, escape, too_long, too_many, as_json, as_sorted_json)
    },
    **{f"filter_{name}": text_filter for name, text_filter in TEXT_FILTERS.items()},
}
