"""YAML for rules files: the core schema of 1.2, with positions, and nothing clever.

`on` is a word here, not the boolean true. Aliases, tags and duplicate keys are mistakes, size
and depth are bounded. Nodes are built from libyaml's events, so nothing recurses in C.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import yaml
from msgspec import Struct, field
from msgspec.structs import replace

from invalidator.errors import Problem
from invalidator.runtime.text import visible

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML without libyaml: slower, the same events
    from yaml import SafeLoader as _Loader

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_PROBLEMS = 200

_NULL = frozenset(["", "~", "null", "Null", "NULL"])
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?|[-+]?\.inf|\.nan"
)
_BREAK: Final = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")  # as libyaml counts lines
_QUOTE: Final = "; put quotes around a text that begins with {, [, *, &, !, %, @ or a quote"
_WITHIN: Final = "; put quotes around a text that has { or ': ' in it"
_COLUMN: Final = "; begin the fields of an object in the same column"
_SYNTAX: Final = {  # by libyaml's own words
    "alphabetic or numeric character": _QUOTE,
    "cannot start any token": f"; indent with spaces, not with tabs{_QUOTE}",
    "mapping values are not allowed": f"{_WITHIN}{_COLUMN}",
    "unexpected ':'": _WITHIN,
    "expected key": f"{_COLUMN}{_QUOTE}",
    "expected '-' indicator": f"; begin the elements of a list in the same column{_QUOTE}",
    "expected ','": f"; separate elements by commas{_QUOTE}",
    "end of stream": "; a quote or a bracket is never closed",
    "unknown escape": "; in single quotes a \\ is a \\",
}

BROKEN: Final = object()  # the value of a node that cannot be read, as is reported already


class Node(Struct, frozen=True):
    """One value of a file and its position: scalar, list of nodes, or dict of entries."""

    value: Any  # None, bool, int, float, str, list[Node], dict[str, Entry]
    line: int  # from 1
    column: int  # from 1; of the text itself, after an opening quote
    text: str = ""  # a scalar as written
    style: str = ""  # of a scalar: ' or " where it is quoted, | or > for a block
    folded: bool = False  # a text without quotes over several lines

    def plain(self) -> Any:
        """Return the value without positions, as JSON would give it."""
        if isinstance(self.value, dict):
            return {key: entry.value.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def kind(self) -> str:
        return kind_of(self.value)


class Entry(Struct, frozen=True):
    key: Node
    value: Node


_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "nothing"}


def kind_of(value: object) -> str:
    return _KINDS.get(type(value), "a number")


class Report(Struct):
    """Collects every mistake of one file."""

    file: str
    lines: Sequence[str] = ()  # of the file
    problems: list[Problem] = field(default_factory=list)

    def add(self, node: Node, message: str, text: str | None = None, offset: int = 0) -> None:
        """Add a mistake in a value, `offset` characters from its beginning."""
        place = node.line, node.column
        if offset:
            place = locate(self.lines, *place, node.style, node.text, offset)
        self.at(*place, message, node.text if text is None else text)

    def at(self, line: int, column: int, message: str, text: str = "") -> None:
        if len(self.problems) < MAX_PROBLEMS:
            found = Problem(self.file, line, column, visible(message, 600), visible(text))
            self.problems.append(found)


def parse_yaml(content: bytes, report: Report) -> Node | None:
    """Return the file's one document; None if it cannot be used, and the report says why."""
    if len(content) > MAX_BYTES:
        report.at(0, 0, f"the file has more than {MAX_BYTES} bytes")
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        _not_utf8(content, error, report)
        return None
    report.lines = split(text)
    try:
        return _Builder(report).build(yaml.parse(text, Loader=_Loader))
    except yaml.reader.ReaderError as error:
        line = len(split(text[: error.position]))
        report.at(line, 1, f"not YAML: the control character {chr(error.character)!a}")
    except yaml.YAMLError as error:
        _syntax(error, report)
    return None


def _not_utf8(content: bytes, error: UnicodeDecodeError, report: Report) -> None:
    before = content[: error.start].decode()
    lines = split(before)
    byte = f"0x{content[error.start]:02x}"
    said = f"this is not UTF-8: the byte {byte}; save the file as UTF-8"
    report.at(len(lines), len(lines[-1]) + 1, said, lines[-1])


def _syntax(error: yaml.YAMLError, report: Report) -> None:
    mark, start = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    said = str(getattr(error, "problem", None) or error)
    if mark is None:
        report.at(1, 1, f"not YAML: {said}")
        return
    if start and start.line != mark.line:
        said += f", {getattr(error, 'context', '')} that begins in line {start.line + 1}"
    line = report.lines[mark.line] if mark.line < len(report.lines) else ""
    report.at(mark.line + 1, mark.column + 1, f"not YAML: {said}{_syntax_hint(said)}", line.strip())


class _Builder:
    """Builds nodes from parser events, with its own stack."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.root: Node | None = None
        self.stack: list[tuple[Node, Node | None]] = []  # a container and its open key

    def build(self, events: Iterable[Any]) -> Node | None:
        documents = 0
        for event in events:
            name = type(event).__name__
            if name == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    self._complain(event, "a rules file is one document, without a second ---")
                    return self.root
            elif name == "AliasEvent":
                said = "aliases are not supported: write the value out, or put quotes around a text"
                self._complain(event, said, f"*{event.anchor}")
                self._put(_node(event, BROKEN))
            elif name == "ScalarEvent":
                sound = self._is_plain(event)
                self._put(self._scalar(event) if sound else _node(event, BROKEN))
            elif name in ("MappingStartEvent", "SequenceStartEvent"):
                self._is_plain(event)
                if not self._open(event, {} if name == "MappingStartEvent" else []):
                    return None
            elif name in ("MappingEndEvent", "SequenceEndEvent"):
                self.stack.pop()
        return self.root

    def _open(self, event: Any, empty: object) -> bool:
        if len(self.stack) >= MAX_DEPTH:
            self._complain(event, f"nested deeper than {MAX_DEPTH} levels")
            return False
        node = _node(event, empty)
        self._put(node)
        self.stack.append((node, None))
        return True

    def _put(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        container, key = self.stack[-1]
        if isinstance(container.value, list):
            container.value.append(node)
        elif key is None:
            self.stack[-1] = (container, node)
        else:
            self.stack[-1] = (container, None)
            self._enter(container.value, key, node)

    def _enter(self, entries: dict[str, Entry], key: Node, node: Node) -> None:
        if key.value is BROKEN:
            return
        if isinstance(key.value, dict | list):
            said = f"a key is text, not {key.kind()}; put quotes around a text with braces"
            self.report.add(key, said)
        elif key.text in entries:
            first = entries[key.text].key
            self.report.add(key, f"the key occurs twice here, first in line {first.line}")
        else:
            entries[key.text] = Entry(key, node)

    def _scalar(self, event: Any) -> Node:
        value, style = event.value, event.style or ""
        if style:
            # After the opening quote, so that offsets into the text are columns of the file.
            shift = 1 if style in "'\"" else 0
            return _node(event, value, value, shift, style)
        folded = event.end_mark.line > event.start_mark.line and bool(value)
        return replace(_node(event, resolve(value), value), folded=folded)

    def _is_plain(self, event: Any) -> bool:
        """Report an anchor or a tag; return whether the value has neither."""
        anchored = event.anchor is not None
        tagged = event.tag is not None and event.tag != "!"
        if anchored:
            said = "anchors are not supported; put quotes around a text that begins with &"
            self._complain(event, said, f"&{event.anchor}")
        if tagged:
            said = "tags are not supported; put quotes around a text that begins with !"
            self._complain(event, said, event.tag)
        return not anchored and not tagged

    def _complain(self, event: Any, message: str, text: str = "") -> None:
        self.report.add(_node(event, None), message, text)


def _node(event: Any, value: Any, text: str = "", shift: int = 0, style: str = "") -> Node:
    mark = event.start_mark
    return Node(value, mark.line + 1, mark.column + 1 + shift, text, style)


def resolve(text: str) -> Any:
    """Return a plain scalar's value by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _syntax_hint(said: str) -> str:
    return next((hint for words, hint in _SYNTAX.items() if words in said), "")


def kind_hint(expected: str, node: Node) -> str:
    """Return what is probably wrong with a value that is not what was expected."""
    if expected == "text" and node.text:
        return f': write "{node.text}"'
    if expected == "text" and isinstance(node.value, dict | list):
        return "; put quotes around a text that begins with { or [, or has ': ' in it"
    if expected.startswith("an object") and ":" in node.text and not node.style:
        return "; a space belongs after the :"
    return ""


def split(text: str) -> list[str]:
    """Return a file's lines, without a byte order mark, which has no column."""
    return _BREAK.split(text.removeprefix("\ufeff"))


def locate(
    lines: Sequence[str], line: int, column: int, style: str, value: str, offset: int
) -> tuple[int, int]:
    """Return the line and column of the character at an offset of a value that begins here.

    Folding only changes white space, so the n-th other character of a value is the n-th of its
    source too. Quotes may have escapes: there, it is the beginning where the text is not found.
    """
    if not 0 < line <= len(lines):
        return line, column
    if lines[line - 1].startswith(value, column - 1):
        return line, column + offset
    if style in ("'", '"'):
        return line, column
    if style in ("|", ">"):
        line, column = line + 1, 1
    before = sum(not char.isspace() for char in value[:offset])
    at_space = offset >= len(value) or value[offset].isspace()
    place = line, column
    for start in _characters(lines, line, column):
        if before == 0:
            return place if at_space else start
        before -= 1
        place = start[0], start[1] + 1
    return place


def _characters(lines: Sequence[str], line: int, column: int) -> Iterator[tuple[int, int]]:
    """Yield where each character is that is no white space."""
    for number in range(line, len(lines) + 1):
        first = column if number == line else 1
        for at, char in enumerate(lines[number - 1][first - 1 :], first):
            if not char.isspace():
                yield number, at
