"""What all processes of the harness see: floors, the epoch, and counts, in one shared file."""

import mmap
import time
from pathlib import Path
from typing import Final

READERS: Final = 8
WORKERS: Final = 8  # at most, in each reader
BLOCK: Final = 8  # rows that share a tag or a version
BLOCKS: Final = 150
ROWS: Final = BLOCK * BLOCKS

EPOCH, PAUSED = 0, 1
COUNTS: Final = ("reads", "calls", "judged", "loads", "late", "refused", "writes")
_COUNTS: Final = 8
_FLOORS: Final = _COUNTS + READERS * WORKERS * len(COUNTS)
_SINCE: Final = _FLOORS + ROWS
_AGED: Final = _SINCE + ROWS
_CELLS: Final = _AGED + ROWS


class Board:
    """Cells of 64 bits. Each has one writer, so that nothing has to be locked.

    A row's floor is the newest version whose invalidation is known to be applied. Its aged floor
    is the same, some seconds later. 0: nothing is claimed of this row.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8 * _CELLS))
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), 8 * _CELLS)).cast("q")

    @property
    def epoch(self) -> int:
        """Return a number that changes when Redis may have forgotten invalidations."""
        return self._cells[EPOCH]

    @property
    def paused(self) -> bool:
        """Return whether writers have to wait."""
        return bool(self._cells[PAUSED])

    def pause(self, *, paused: bool) -> None:
        self._cells[PAUSED] = paused

    def floor(self, row: int, *, aged: bool = False) -> int:
        return self._cells[(_AGED if aged else _FLOORS) + row]

    def since(self, row: int) -> float:
        """Return for how many seconds a row's floor has been known."""
        return (time.monotonic_ns() - self._cells[_SINCE + row]) / 1e9

    def raise_floor(self, row: int, version: int) -> None:
        if version > self._cells[_FLOORS + row]:
            self._cells[_FLOORS + row] = version
            self._cells[_SINCE + row] = time.monotonic_ns()

    def age(self, row: int, version: int) -> None:
        self._cells[_AGED + row] = max(version, self._cells[_AGED + row])

    def claim_nothing(self) -> None:
        """Begin another epoch. A read is judged only if it began and ended in the same one."""
        self._cells[EPOCH] += 1
        for row in range(ROWS):
            self._cells[_FLOORS + row] = self._cells[_AGED + row] = 0

    def count(self, reader: int, worker: int, what: str, by: int = 1) -> None:
        self._cells[self._place(reader, worker, what)] += by

    def total(self, what: str) -> int:
        places = (self._place(r, w, what) for r in range(READERS) for w in range(WORKERS))
        return sum(self._cells[place] for place in places)

    def _place(self, reader: int, worker: int, what: str) -> int:
        return _COUNTS + (reader * WORKERS + worker) * len(COUNTS) + COUNTS.index(what)
