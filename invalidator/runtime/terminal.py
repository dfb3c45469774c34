"""Output for a person at a terminal: escaping, colours, progress."""

import os
import shutil
import time
from collections.abc import Callable
from typing import Literal, TextIO

Colour = Literal["red", "green", "yellow", "dim", "bold"]
_CODES: dict[Colour, int] = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}

REDRAW_EVERY = 0.1  # seconds, on a terminal
SAY_EVERY = 10.0  # seconds between two lines, where the stream is a file or a pipe
_WIDTH = 24  # characters of a bar


def printable(text: str) -> str:
    """Return the text with every unprintable character but the line break as an escape.

    Names of channels and texts of events come from others, who could send terminal sequences.
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def coloured(stream: TextIO) -> bool:
    """Return true if the stream is a terminal with colours and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: Colour, stream: TextIO) -> str:
    """Return the text in a colour, where the stream has colours."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if coloured(stream) else text


class Progress:
    """Show the progress of long work: one line, redrawn on a terminal, otherwise repeated.

    As a context manager it clears the line when the work is over.
    """

    def __init__(
        self, what: str, stream: TextIO, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._stream = stream
        self._clock = clock
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._began = clock()
        self._next = self._began + (0.0 if self._live else SAY_EVERY)
        self._drawn = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, done: int, total: int, more: str = "") -> None:
        """Show the progress if it is time to; a `total` of 0 is unknown."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (REDRAW_EVERY if self._live else SAY_EVERY)
        line = self._line(done, total, more, now - self._began)
        if not self._live:
            print(line, file=self._stream, flush=True)
            return
        columns = shutil.get_terminal_size().columns
        self._stream.write(f"\r\x1b[K{line[: columns - 1]}")
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Clear the line, before something else is written."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False

    def _line(self, done: int, total: int, more: str, seconds: float) -> str:
        said = f"{done:,}" if not total else f"{min(done, total):,} of {total:,}"
        parts = [f"{self._what} {said}"]
        if total:
            share = min(1.0, done / total)
            if self._live:
                parts[0] = f"{self._what} {_bar(share)} {said}"
            if share and seconds >= 1:
                parts.append(f"{_duration(seconds * (1 - share) / share)} left")
        return ", ".join([*parts, *([more] if more else [])])


def _bar(share: float) -> str:
    full = int(share * _WIDTH)
    return f"[{'#' * full}{'.' * (_WIDTH - full)}] {share:4.0%}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
