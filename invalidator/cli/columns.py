"""Lay out what verbs print: columns and text that fit the terminal, ages, colours."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

from invalidator.runtime.terminal import Colour, paint

NARROWEST: Final = 80  # columns; narrower terminals wrap
_WIDE: Final = 10_000  # columns where the output is a file or a pipe: nothing is cut or wrapped
_GAP: Final = "  "  # between two columns
_LEAST: Final = 20  # columns of the one that wraps

_COLOURING = re.compile(r"\x1b\[\d+m")
_NUMBER = re.compile(r"[\d,.]+(?:/s|%)?|-|")


def width() -> int:
    """Return how many columns there are; COLUMNS decides, then the terminal."""
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return _WIDE
    return max(NARROWEST, shutil.get_terminal_size().columns)


def painted(text: str, colour: Colour) -> str:
    """Return a text in a colour, where stdout has colours."""
    return paint(text, colour, sys.stdout)


def table(
    rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), indent: str = "", wraps: int = -1
) -> list[str]:
    """Return rows in columns. Columns of numbers are aligned to the right; the column `wraps` takes
    several lines where the terminal is too narrow. Cells must be safe for a terminal."""
    every = [head, *rows] if head else rows
    if not rows:
        return []
    numbers = [
        all(map(_NUMBER.fullmatch, map(_plain, column))) for column in zip(*rows, strict=True)
    ]
    widths = [max(map(_length, column)) for column in zip(*every, strict=True)]
    wraps %= len(widths)
    others = len(indent) + sum(widths) - widths[wraps] + len(_GAP) * (len(widths) - 1)
    widths[wraps] = min(widths[wraps], max(_LEAST, width() - others))
    lines = []
    for at, row in enumerate(every):
        wrapped = _wrapped(row[wraps], widths[wraps])
        for number, part in enumerate(wrapped):
            cells = [part if i == wraps else cell * (not number) for i, cell in enumerate(row)]
            padded = map(_padded, cells, widths, numbers)
            line = (indent + _GAP.join(padded)).rstrip()
            lines.append(painted(line, "bold") if head and at == 0 else line)
    return lines


def wrapped(text: str, *, indent: str = "", first: str | None = None, inset: int = 0) -> list[str]:
    """Return a text as lines that fit the terminal, the first with an indent of its own."""
    return textwrap.wrap(
        text,
        width() - inset,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def age(seconds: float) -> str:
    """Return how long ago something was, by its largest unit: `3m`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def _wrapped(cell: str, columns: int) -> list[str]:
    if _length(cell) <= columns:
        return [cell]
    colour = _COLOURING.match(cell)
    lines = textwrap.wrap(_plain(cell), columns, break_on_hyphens=False) or [""]
    return [f"{colour[0]}{line}\x1b[0m" for line in lines] if colour else lines


def _padded(cell: str, columns: int, number: bool) -> str:
    space = " " * (columns - _length(cell))
    return space + cell if number else cell + space


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(_plain(cell)) is not None


def _length(cell: str) -> int:
    return len(_plain(cell))


def _plain(cell: str) -> str:
    return _COLOURING.sub("", cell)
