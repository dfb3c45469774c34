"""From a character of a YAML value back to the line and column where it was written."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

_BREAK: Final = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")  # as libyaml counts lines
_ESCAPE: Final = re.compile(r"\\(?:x(..)|u(....)|U(........)|.)|.", re.S)
_DOUBLED: Final = re.compile(r"''|.", re.S)
_ANY: Final = re.compile(r".", re.S)
_SPACES: Final = frozenset(["\\n", "\\r", "\\t", "\\ ", "\\_", "\\N", "\\L", "\\P", "\\v", "\\f"])


def split(text: str) -> list[str]:
    """A file's lines, without a byte order mark, which has no column."""
    return _BREAK.split(text.removeprefix("\ufeff"))


def locate(
    lines: Sequence[str], line: int, column: int, style: str, value: str, offset: int
) -> tuple[int, int]:
    """Where the character at an offset stands; the value begins at this line and column.

    Folding only changes white space, so the n-th other character of a value is the n-th of its
    source too.
    """
    if not 0 < line <= len(lines):
        return line, column
    if lines[line - 1].startswith(value, column - 1):
        return line, column + offset
    if style in ("|", ">"):
        line, column = line + 1, 1
    before = sum(not char.isspace() for char in value[:offset])
    at_space = offset >= len(value) or value[offset].isspace()
    place = line, column
    for start, end in _characters(lines, line, column, style):
        if before == 0 and not at_space:
            return start
        if before == 0:
            break
        before -= 1
        place = end
    return place


Place = tuple[int, int]


def _characters(
    lines: Sequence[str], line: int, column: int, style: str
) -> Iterator[tuple[Place, Place]]:
    """Where each character that is no white space begins and ends."""
    units = {"'": _DOUBLED, '"': _ESCAPE}.get(style, _ANY)
    for number in range(line, len(lines) + 1):
        first = column - 1 if number == line else 0
        for unit in units.finditer(lines[number - 1], first):
            if not _blank(unit):
                yield (number, unit.start() + 1), (number, unit.end() + 1)


def _blank(unit: re.Match[str]) -> bool:
    code = unit[unit.lastindex] if unit.lastindex else ""
    try:
        char = chr(int(code, 16)) if code else unit[0]
    except ValueError:
        return False
    return char.isspace() or char in _SPACES or char == "\\"
