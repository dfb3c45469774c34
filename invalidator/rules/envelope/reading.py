"""The settings of an envelope, and an event that was read by them."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct

from invalidator.rules.envelope.parse import parse

Format = Literal["auto", "plain", "cloudevents", "debezium"]
FORMATS: Final[tuple[Format, ...]] = ("auto", "plain", "cloudevents", "debezium")
AUTO: Final = "auto"
OldRows = Literal["auto", "full", "key"]
OLD_ROWS: Final[tuple[OldRows, ...]] = ("auto", "full", "key")

# How a text begins that may hold JSON; the letters: in base64, and after a space there.
_ENCODED: Final = frozenset("eWIC")
OPENED: Final = frozenset("{[ \n\r\t") | _ENCODED

EVERY: Final = ""  # stands for all columns of a row that was not sent at all

_SLOT: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = r"[A-Za-z_$@][\w$-]*"
_INDEX: Final = r"""\[(?:\d{1,4}|"[^"\]]+")\]"""
_FIELD: Final = re.compile(rf"(?:{_NAME}|{_INDEX})(?:\.{_NAME}|{_INDEX})*")
_STEP: Final = re.compile(r"""\[(\d+)\]|\["([^"]+)"\]|\.?([^.\[]+)""")

_NOTHING: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({})


class Envelope(Struct, frozen=True):
    """The form in which a source delivers its events."""

    format: Format = "auto"
    types: tuple[str, ...] = ("type", "event", "{entity}.{action}")  # the first that the event has
    data: str = AUTO  # a path, or auto
    old_rows: OldRows = "auto"  # which columns of the old rows of change events were sent

    @property
    def first(self) -> str | None:
        """Return the one field that holds the type of most events, for the fast path."""
        if self.format == "debezium" or not _is_name(self.data):
            return None
        if self.format == "cloudevents":
            return "type"
        first = self.types[0]  # Debezium adds __op and the like to rows that need a closer look
        return first if _is_name(first) and not first.startswith("__") else None

    @property
    def is_indexed(self) -> bool:
        """Return whether an event is itself a list, such as ["order.updated", {...}]."""
        return any(text.startswith(("[", "{[")) for text in (*self.types, self.data))

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
    kinds: tuple[str, ...] = ()  # types that it may have: the one that most rules are on counts


def _is_name(path: str) -> bool:
    """Return whether a path is a single field. It is asked for each event of the slow path."""
    return "." not in path and "[" not in path and "{" not in path


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


def type_of(
    event: Any, types: tuple[str, ...], headers: Callable[[], Mapping[str, str]] = dict
) -> str | None:
    """Return the first type that the event or its headers have, as text."""
    for text in types:
        if "{" not in text:
            found = _read(event, text, headers)
            if isinstance(found, str) and found:
                return found
            continue
        values = [_read(event, path, headers) for path in _SLOT.findall(text)]
        if all(isinstance(value, str | int) and value != "" for value in values):
            return _SLOT.sub("{}", text).format(*values)
    return None


def _read(event: Any, path: str, headers: Callable[[], Mapping[str, str]]) -> Any:
    """Return a value of the event or, for `headers.name`, of its record's headers."""
    found = at(event, path)
    if found is None and steps_of(path)[0] == "headers":
        return at({"headers": headers()}, path)
    return found


def at(value: Any, path: str) -> Any:
    """Return the value at a path, or None; JSON within a text is opened on the way."""
    for step in steps_of(path):
        if isinstance(value, str):
            value = opened(value)
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


@lru_cache(1024)
def steps_of(path: str) -> tuple[str | int, ...]:
    """Split `messageType[0].name` into its steps."""
    return tuple(
        int(index) if index else quoted or name for index, quoted, name in _STEP.findall(path)
    )


def opened(value: Any) -> Any:
    """Return the object or list that a text holds as JSON, also in base64; else the value."""
    if not isinstance(value, str) or value[:1] not in OPENED:
        return value
    try:
        raw: bytes | str = value.lstrip()
        if value[0] in _ENCODED:
            raw = base64.b64decode(value, validate=True).lstrip()
        return parse(raw) if raw[:1] in ("{", "[", b"{", b"[") else value
    except (binascii.Error, ValueError):
        return value
