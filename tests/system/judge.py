"""Judges what a reader was given, row by row."""

import os
import random
from pathlib import Path
from typing import Any, Final

import orjson

from tests.system.board import Board

PAD: Final = "x" * 300
SLOW_LOADS: Final = 0.15  # the share of loads that take so long that much happens meanwhile
SLOWEST: Final = 0.2  # seconds


def row_of(row: int, version: int) -> dict[str, Any]:
    return {"id": row, "version": version, "pad": PAD}


def dawdling(draw: random.Random) -> float:
    """Return for how long a loader waits between the database's answer and its return."""
    return draw.random() ** 3 * SLOWEST if draw.random() < SLOW_LOADS else 0.0


class Judge:
    """Of one worker of a reader. `near`: this reader has copies in its process."""

    def __init__(self, board: Board, reader: int, worker: int, notes: Path, *, near: bool) -> None:
        self._board, self._near = board, near
        self._place = reader, worker
        self._notes = notes
        self._own: dict[int, tuple[int, int]] = {}  # row: epoch, version that we invalidated

    def began(self, *rows: int) -> tuple[int, dict[int, tuple[int, int]]]:
        """Return what is claimed when a read begins."""
        epoch = self._board.epoch
        return epoch, {row: (self._strict(row, epoch), self._promised(row)) for row in rows}

    def count(self, what: str, by: int = 1) -> None:
        self._board.count(*self._place, what, by)

    def judge(
        self, claims: tuple[int, dict[int, tuple[int, int]]], found: dict[int, Any], how: str
    ) -> None:
        """Compare what was read with the claims at its beginning; note what is older."""
        epoch, floors = claims
        self.count("calls")
        self.count("reads", len(found))
        if epoch != self._board.epoch:
            return
        for row, value in found.items():
            strict, promised = floors[row]
            self.count("judged", bool(promised))
            version = value["version"]
            if version < promised:
                self._note(row, version, promised, how)
            elif version < strict:
                self.count("late")

    def wrote(self, row: int, version: int, epoch: int) -> None:
        """Note that this reader has invalidated a row itself."""
        self._own[row] = epoch, version

    def _strict(self, row: int, epoch: int) -> int:
        own_epoch, own = self._own.get(row, (epoch, 0))
        return max(self._board.floor(row), own if own_epoch == epoch else 0)

    def _promised(self, row: int) -> int:
        """Copies in a process are promised to go seconds later than what is in Redis."""
        if self._near:
            return self._board.floor(row, aged=True)
        return self._strict(row, self._board.epoch)

    def _note(self, row: int, version: int, floor: int, how: str) -> None:
        reader, worker = self._place
        said = {
            "row": row,
            "read": version,
            "floor": floor,
            "known_for": round(self._board.since(row), 3),
            "how": how,
            "near": self._near,
            "reader": reader,
            "worker": worker,
        }
        file = os.open(self._notes, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        try:
            os.write(file, orjson.dumps(said) + b"\n")
        finally:
            os.close(file)
