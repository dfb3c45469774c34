"""What is shown to people only: colours, and how far long work has come."""

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


def coloured(stream: TextIO) -> bool:
    """Only on a terminal that understands it, and not where NO_COLOR says so."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: Colour, stream: TextIO) -> str:
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if coloured(stream) else text


class Progress:
    """How far work has come: one line that is drawn anew on a terminal, elsewhere now and then one.

    With `with`, the line is gone from the terminal when the work is over.
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
        """`total` is 0 while nobody knows; what is beyond it counts as all of it."""
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
        """Before something else is written."""
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
