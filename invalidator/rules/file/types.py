"""The types of values in rules files: each checks a node and describes itself as JSON Schema."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from invalidator.rules.file.yaml import BROKEN, Entry, Node, Report, kind_hint
from invalidator.runtime.text import closest, nearest
from invalidator.runtime.units import parse_duration

_DURATION: Final = r"^[0-9]+(\.[0-9]+)? *(ms|s|m|h)$"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROL_OR_BREAK: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Spec(Protocol):
    """A type of values."""

    def check(self, node: Node, report: Report, name: str) -> Node | None:
        """Report what is wrong with a value, and return what of it is sound."""

    def schema(self) -> dict[str, Any]:
        """Return the type as JSON Schema."""


def checked(spec: Spec, node: Node, report: Report, name: str) -> Node | None:
    """Check a value unless the YAML reader has reported it already."""
    return None if node.value is BROKEN else spec.check(node, report, name)


def _expected(node: Node, what: str) -> str:
    return f"expected {what}, found {node.kind()}{kind_hint(what, node)}"


class Text(Struct, frozen=True):
    empty: bool = False  # may it be ""?
    most: int = 0  # characters; 0: any number
    lines: bool = False  # may it have line breaks and tabs?

    def check(self, node: Node, report: Report, name: str) -> Node | None:
        if not isinstance(node.value, str):
            report.add(node, f"{name}: {_expected(node, 'text')}")
            plain = node.text if isinstance(node.value, bool | int | float) else ""
            return replace(node, value=plain) if plain else None
        if not node.value and not self.empty:
            report.add(node, f"{name}: is empty")
            return None
        if bad := (_CONTROL if self.lines else _CONTROL_OR_BREAK).search(node.value):
            said = f"{name}: has the control character {bad[0]!a}"
            if bad[0] == "\n":
                said = f"{name}: has a line break; write it on one line, or as a block with >-"
            report.add(node, said, offset=bad.start())
            return None
        if self.most and len(node.value) > self.most:
            report.add(node, f"{name}: has {len(node.value)} characters, more than {self.most}")
        return node

    def schema(self) -> dict[str, Any]:
        made: dict[str, Any] = {"type": "string"}
        if not self.empty:
            made["minLength"] = 1
        if self.most:
            made["maxLength"] = self.most
        return made


class Simple(Struct, frozen=True):
    """A value that is right or wrong as a whole."""

    mistake: Callable[[Node], str]  # empty where there is none
    json: Mapping[str, Any]  # as JSON Schema

    def check(self, node: Node, report: Report, name: str) -> Node | None:
        if said := self.mistake(node):
            report.add(node, f"{name}: {said}")
            return None
        return node

    def schema(self) -> dict[str, Any]:
        return dict(self.json)


def number(least: int, most: int) -> Simple:
    wanted = str(least) if least == most else f"{least} to {most}"

    def mistake(node: Node) -> str:
        if type(node.value) is not int:
            return _expected(node, "a whole number")
        return "" if least <= node.value <= most else f"expected {wanted}"

    return Simple(mistake, {"type": "integer", "minimum": least, "maximum": most})


def duration(most: float, *, zero: bool = False) -> Simple:
    """Return the type of durations up to so many seconds."""
    wanted = f"at most {most:g}s" if zero else f"more than 0 and at most {most:g}s"

    def mistake(node: Node) -> str:
        try:
            found = parse_duration(node.text)
        except ValueError as error:
            return f"expected {error}"
        fits = (zero or found) and found <= most
        return "" if fits else f"expected {wanted}"

    return Simple(mistake, {"type": "string", "pattern": _DURATION})


def choice(*words: str) -> Simple:
    def mistake(node: Node) -> str:
        found = node.text or node.kind()
        return "" if node.value in words else f"{found} is not valid{nearest(found, words)}"

    return Simple(mistake, {"enum": list(words)})


FLAG: Final = Simple(
    lambda node: "" if isinstance(node.value, bool) else _expected(node, "true or false"),
    {"type": "boolean"},
)
ANYTHING: Final = Simple(lambda node: "", {})


class Listed(Struct, frozen=True):
    """A list; `single`: one value alone stands for a list of one."""

    item: Spec
    single: bool = False
    empty: bool = False  # may it have no element?

    def check(self, node: Node, report: Report, name: str) -> Node | None:
        if isinstance(node.value, list):
            if not node.value and not self.empty:
                report.add(node, f"{name}: the list is empty", "[]")
            self._whole(node.value, report, name)
            found = [checked(self.item, entry, report, name) for entry in node.value]
            return replace(node, value=[entry for entry in found if entry])
        if self.single:
            self._whole([node], report, name)
            return self.item.check(node, report, name)
        report.add(node, f"{name}: {_expected(node, 'a list')}")
        return None

    def _whole(self, found: Sequence[Node], report: Report, name: str) -> None:
        """Report elements that are indented too far: YAML joins them to the text before."""
        for node in found:
            if node.folded and " - " in node.text:
                said = "this text continues in the next line; begin the elements of a list in the "
                report.add(node, f"{name}: {said}same column")

    def schema(self) -> dict[str, Any]:
        listed: dict[str, Any] = {"type": "array", "items": self.item.schema()}
        if not self.empty:
            listed["minItems"] = 1
        return {"anyOf": [self.item.schema(), listed]} if self.single else listed


class Field(Struct, frozen=True):
    spec: Spec
    doc: str
    required: bool = False
    default: Any = None  # the value where it is left out, for people


class Object(Struct, frozen=True):
    """An object with declared fields, and perhaps others of one type."""

    what: str  # as a person calls it
    fields: Mapping[str, Field] = field(default_factory=dict)
    others: Spec | None = None  # the type of fields with any other name
    some: bool = False  # at least one field

    def check(self, node: Node, report: Report, name: str) -> Node | None:
        if not isinstance(node.value, dict):
            some = ", ".join(list(self.fields)[:4]) + ", …" if self.fields else "names of its own"
            report.add(node, f"{name}: {_expected(node, f'an object with {some}')}")
            return None
        if self.some and not node.value:
            report.add(node, f"{self.what} is empty{nearest('', self.fields)}", "{}")
        meant = {key: self._meant(key, node.value) for key in node.value}
        for key, known in self.fields.items():
            if known.required and key not in meant.values():
                report.add(node, f"{self.what} has no {key}: {known.doc}", "")
        sound: dict[str, Entry] = {}
        for key, entry in node.value.items():
            known_as = meant[key]
            if known_as != key:
                report.add(entry.key, self._unknown(key))
            spec = self.fields[known_as].spec if known_as in self.fields else self.others
            value = checked(spec, entry.value, report, known_as) if spec else None
            if value:
                sound[known_as] = Entry(entry.key, value)
        return replace(node, value=sound)

    def _meant(self, key: str, written: Mapping[str, Entry]) -> str:
        """Return the field that a key is taken for, to show mistakes below a misspelt one too."""
        if key in self.fields or self.others:
            return key
        if self._below(key):
            return ""
        near = closest(key, self.fields)
        return near if near and near not in written else ""

    def _unknown(self, key: str) -> str:
        if below := self._below(key):
            return f"{self.what} has no field {key}; it stands further right, under {below}:"
        return f"{self.what} has no field {key[:60]}{nearest(key, self.fields)}"

    def _below(self, key: str) -> str:
        """Return the field that is an object with a field of this name."""
        objects = (
            name
            for name, known in self.fields.items()
            if isinstance(known.spec, Object) and key in known.spec.fields
        )
        return next(objects, "")

    def schema(self) -> dict[str, Any]:
        made: dict[str, Any] = {"type": "object"}
        if self.fields:
            made["properties"] = {key: _described(known) for key, known in self.fields.items()}
        made["additionalProperties"] = self.others.schema() if self.others else False
        required = [key for key, known in self.fields.items() if known.required]
        if required:
            made["required"] = required
        if self.some:
            made["minProperties"] = 1
        return made


def _described(known: Field) -> dict[str, Any]:
    made = {"description": known.doc, **known.spec.schema()}
    return made if known.default is None else {**made, "default": known.default}


class Either(Struct, frozen=True):
    """A word, or an object."""

    word: Simple
    other: Spec

    def check(self, node: Node, report: Report, name: str) -> Node | None:
        spec = self.other if isinstance(node.value, dict | list) else self.word
        return spec.check(node, report, name)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.word.schema(), self.other.schema()]}
