"""A few numbers that a daemon leaves in a file, where they outlive a SIGKILL."""

import mmap
import struct
from pathlib import Path

NUMBERS = ("planned", "tasks", "pooled", "longest", "standstill")
_LAYOUT = struct.Struct(f"<{len(NUMBERS)}d")


class Gauges:
    """Written by one process, read by another.

    `planned` events so far, repeated ones too; `tasks` that run now; connections to
    Redis that are `pooled`, to be used again; the `longest` talk with Redis
    and the longest `standstill` of the event loop, in seconds.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_LAYOUT.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)

    def get(self, name: str) -> float:
        value: float = struct.unpack_from("<d", self._map, 8 * NUMBERS.index(name))[0]
        return value

    def set(self, name: str, value: float) -> None:
        struct.pack_into("<d", self._map, 8 * NUMBERS.index(name), value)

    def raise_to(self, name: str, value: float) -> None:
        if value > self.get(name):
            self.set(name, value)
