"""How far long work is, for a person: one line on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from invalidator.once import Progress

_TERMINAL_EVERY = 0.1  # seconds
_OTHER_EVERY = 5.0
_CLEAR = "\r\x1b[K"
_WIDTH = 20  # of the bar


class Meter:
    """Called with the progress of events, as often as one likes."""

    def __init__(
        self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = out or sys.stderr
        self._terminal = self._out.isatty()
        self._clock = clock
        self._began = clock()
        self._every = _TERMINAL_EVERY if self._terminal else _OTHER_EVERY
        self._said = self._began if not self._terminal else self._began - self._every
        self._shown = False

    def __call__(self, progress: "Progress") -> None:
        now = self._clock()
        if now - self._said < self._every:
            return
        self._said = now
        self._shown = True
        line = _line(progress, now - self._began)
        print(f"{_CLEAR}{line}" if self._terminal else line, file=self._out, flush=True,
              end="" if self._terminal else "\n")  # fmt: skip

    def end(self) -> None:
        """What follows begins on a line of its own."""
        if self._shown and self._terminal:
            print(_CLEAR, file=self._out, flush=True, end="")


def _line(progress: "Progress", seconds: float) -> str:
    done, total = progress.settled, progress.total
    of = f" of {total:,}" if total is not None else ""
    rate = f", {done / seconds:,.0f}/s" if seconds >= 1 else ""
    dead = f", {progress.rejected:,} rejected" if progress.rejected else ""
    return f"{_bar(done, total)}{done:,}{of} events{rate}{dead}"


def _bar(done: int, total: int | None) -> str:
    if not total:
        return ""
    filled = min(_WIDTH, done * _WIDTH // total)
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] "
