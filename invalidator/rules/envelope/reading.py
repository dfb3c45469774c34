"""The settings of an envelope, and an event that was read by them."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct

Format = Literal["auto", "plain", "cloudevents", "debezium"]
FORMATS: Final[tuple[Format, ...]] = ("auto", "plain", "cloudevents", "debezium")
AUTO: Final = "auto"
OldRows = Literal["auto", "full", "key"]
OLD_ROWS: Final[tuple[OldRows, ...]] = ("auto", "full", "key")

EVERY: Final = ""  # stands for all columns of a row that was not sent at all

_SLOT: Final = re.compile(r"\{([^{}]*)\}")
_FIELD: Final = re.compile(r"[A-Za-z_$@][\w$-]*(?:\.[A-Za-z_$@][\w$-]*)*")

_NOTHING: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({})


class Envelope(Struct, frozen=True):
    """How the events of a source are read."""

    format: Format = "auto"
    types: tuple[str, ...] = ("type", "event", "{entity}.{action}")  # the first that the event has
    data: str = AUTO  # a path, or auto
    old_rows: OldRows = "auto"  # which columns of the old rows of change events were sent

    @property
    def first(self) -> str | None:
        """Return the one field that holds the type of most events, for the fast path."""
        if self.format == "debezium" or "." in self.data:
            return None
        if self.format == "cloudevents":
            return "type"
        return (
            self.types[0] if _FIELD.fullmatch(self.types[0]) and "." not in self.types[0] else None
        )

    @property
    def inner(self) -> str:
        """Return the field that holds the data of most events."""
        return "data" if self.data == AUTO or self.format == "cloudevents" else self.data

    @property
    def is_mixed(self) -> bool:
        """Return whether plain events and CloudEvents have type and data in different fields."""
        return self.format == AUTO and (self.first, self.inner) != ("type", "data")


class Reading(NamedTuple):
    """One event, unwrapped. A tuple: change events make one each."""

    kind: str  # its type
    data: dict[str, Any]  # what bare names are looked up in
    event: dict[str, Any]  # the fields around it: id, time, subject, before, after
    # A change event: the rows that names are looked up in, the new one first.
    images: tuple[dict[str, Any], ...] = ()
    # Columns of a change event whose old value was not sent ("no-before"), or not even the new one
    # ("no-value"): that word, and the reason.
    unknown: Mapping[str, tuple[str, str]] = _NOTHING
    # Only rules that write out the type's last segment match: snapshots, truncations.
    named: bool = False
    guessed: bool = False  # it has no type: the name of the topic or channel replaces it


def type_problem(text: str) -> str | None:
    """Return what is wrong with one entry of `type:`, if anything."""
    paths = _SLOT.findall(text)
    if not paths and not _FIELD.fullmatch(text):
        return "expected a field such as type, or a text with fields such as {entity}.{action}"
    if "{" in (left := _SLOT.sub("", text)) or "}" in left:
        return "an unbalanced brace"
    for path in paths:
        if not _FIELD.fullmatch(path):
            return f"{{{path}}} is not a field"
    return None


def data_problem(text: str) -> str | None:
    return None if _FIELD.fullmatch(text) else "expected auto, or a path such as payload.data"


def type_of(event: dict[str, Any], types: tuple[str, ...]) -> str | None:
    """Return the first type that the event has, as text."""
    for text in types:
        if "{" not in text:
            found = at(event, text)
            if isinstance(found, str) and found:
                return found
            continue
        values = [at(event, path) for path in _SLOT.findall(text)]
        if all(isinstance(value, str | int) and value != "" for value in values):
            return _SLOT.sub("{}", text).format(*values)
    return None


def at(value: Any, path: str) -> Any:
    """Return the value at a path of fields, or None."""
    for step in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value
