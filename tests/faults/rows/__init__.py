"""The rows: what is started, what breaks when, how it heals."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.stage import Stage


@dataclass(frozen=True, slots=True)
class Row:
    """One fault, and what must hold in spite of it; nothing lost, stale or leaked holds always."""

    number: int
    fault: str  # what breaks, and how it heals
    play: Callable[[Stage], None]
    recover: float = 60.0  # seconds from healed until all is acknowledged
    repeated: int | None = None  # events that may be planned more than once; None: any number
    longest: float = 2.5  # seconds that any talk with Redis may take; the default deadline is 2 s
    dead: int | None = 0  # dead letters beyond the poison that was sent; None: see the row
    grace: float = 0.0  # seconds until what nobody acknowledges is applied, once all else is
    grown: float = 48.0  # MB that a daemon may have grown
    quick: bool = False  # part of `make test`
    impossible: str = ""  # why it cannot run on one machine


ROWS: dict[int, Row] = {}


def row(number: int, fault: str, **limits: object) -> Callable[[Callable[[Stage], None]], Row]:
    """Declare a row; the function plays it up to its healing."""

    def declare(play: Callable[[Stage], None]) -> Row:
        ROWS[number] = Row(number, fault, play, **limits)  # type: ignore[arg-type]
        return ROWS[number]

    return declare
