"""What a rules file may hold, declared once: checked here, and published as a JSON Schema."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from invalidator.rules.words import nearest
from invalidator.rules.yaml12 import Node, Report
from invalidator.units import parse_duration

_DURATION: Final = r"^[0-9]+(\.[0-9]+)? *(ms|s|m|h)$"


class Spec(Protocol):
    """One kind of value."""

    def check(self, node: Node, report: Report, name: str) -> None:
        """Reports whatever is wrong with a value."""

    def schema(self) -> dict[str, Any]:
        """The same as JSON Schema."""


def _expected(node: Node, report: Report, name: str, what: str) -> None:
    found = node.kind()
    hint = f': write "{node.text}"' if what == "text" and node.text else ""
    report.add(node, f"{name}: expected {what}, found {found}{hint}")


@dataclass(frozen=True, slots=True)
class Text:
    empty: bool = False  # may it be ""?

    def check(self, node: Node, report: Report, name: str) -> None:
        if not isinstance(node.value, str):
            _expected(node, report, name, "text")
        elif not node.value and not self.empty:
            report.add(node, f"{name}: is empty")

    def schema(self) -> dict[str, Any]:
        return {"type": "string"} if self.empty else {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class Flag:
    def check(self, node: Node, report: Report, name: str) -> None:
        if not isinstance(node.value, bool):
            _expected(node, report, name, "true or false")

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Number:
    least: int
    most: int

    def check(self, node: Node, report: Report, name: str) -> None:
        if type(node.value) is not int:
            _expected(node, report, name, "a whole number")
        elif not self.least <= node.value <= self.most:
            wanted = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
            report.add(node, f"{name}: expected {wanted}")

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Duration:
    most: float  # seconds

    def check(self, node: Node, report: Report, name: str) -> None:
        try:
            found = parse_duration(node.text)
        except ValueError as error:
            report.add(node, f"{name}: expected {error}")
            return
        if not 0 < found <= self.most:
            report.add(node, f"{name}: expected more than 0 and at most {self.most:g}s")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": _DURATION}


@dataclass(frozen=True, slots=True)
class Choice:
    words: tuple[str, ...]

    def check(self, node: Node, report: Report, name: str) -> None:
        if node.value not in self.words:
            found = node.text or node.kind()
            report.add(node, f"{name}: {found} is no choice{nearest(found, self.words)}")

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Listed:
    """A list; `single`: one value alone stands for a list of one."""

    item: Spec
    single: bool = False
    empty: bool = False  # may it have no element?

    def check(self, node: Node, report: Report, name: str) -> None:
        if isinstance(node.value, list):
            if not node.value and not self.empty:
                report.add(node, f"{name}: the list is empty", "[]")
            for entry in node.value:
                self.item.check(entry, report, name)
        elif self.single:
            self.item.check(node, report, name)
        else:
            _expected(node, report, name, "a list")

    def schema(self) -> dict[str, Any]:
        listed: dict[str, Any] = {"type": "array", "items": self.item.schema()}
        if not self.empty:
            listed["minItems"] = 1
        return {"anyOf": [self.item.schema(), listed]} if self.single else listed


@dataclass(frozen=True, slots=True)
class Field:
    spec: Spec
    doc: str
    required: bool = False
    default: Any = None  # what holds where it is left out, for people


@dataclass(frozen=True, slots=True)
class Object:
    """An object with declared fields, and possibly others of one kind."""

    what: str  # as a person calls it
    fields: Mapping[str, Field] = field(default_factory=dict)
    others: Spec | None = None  # what fields of any other name hold
    some: bool = False  # at least one field

    def check(self, node: Node, report: Report, name: str) -> None:
        if not isinstance(node.value, dict):
            _expected(node, report, name, f"an object ({', '.join(self.fields) or 'by name'})")
            return
        for key, entry in node.value.items():
            known = self.fields.get(key)
            if known:
                known.spec.check(entry.value, report, key)
            elif self.others:
                self.others.check(entry.value, report, key)
            else:
                said = f"{self.what} has no field {key}{nearest(key, self.fields)}"
                report.add(entry.key, said)
        for key, known in self.fields.items():
            if known.required and key not in node.value:
                report.add(node, f"{self.what} has no {key}: {known.doc}", "")
        if self.some and not node.value:
            report.add(node, f"{self.what} is empty{nearest('', self.fields)}", "{}")

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


@dataclass(frozen=True, slots=True)
class Either:
    """A word, or an object."""

    word: Choice
    other: Spec

    def check(self, node: Node, report: Report, name: str) -> None:
        (self.other if isinstance(node.value, dict | list) else self.word).check(node, report, name)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.word.schema(), self.other.schema()]}


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever JSON can hold."""

    def check(self, node: Node, report: Report, name: str) -> None:
        """Nothing can be wrong with it."""

    def schema(self) -> dict[str, Any]:
        return {}
