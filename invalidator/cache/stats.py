"""Count by template, as readers, metrics and tests look at it."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

LOAD_TIMES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Stats(Struct):
    """Counts since the cache was made."""

    hits: int = 0  # in Redis
    l1: int = 0  # served from a copy in this process
    stale: int = 0  # served after they were no longer fresh
    loads: int = 0  # under a lease
    shared: int = 0  # loads of the same process that were shared
    waits: int = 0  # for a load of another process
    alone: int = 0  # loads without caching, after waiting or around a foreign value
    bypassed: int = 0  # loads while Redis was unavailable
    failed: int = 0  # loads that raised
    puts: int = 0
    refused: int = 0  # stale fills that did not happen
    older: int = 0  # puts of a row that is older than the one there
    too_large: int = 0
    undecodable: int = 0
    load_seconds: float = 0.0
    load_times: list[int] = field(default_factory=lambda: [0] * (len(LOAD_TIMES) + 1))

    def took(self, ms: float) -> None:
        """Count a load by the time it took."""
        self.load_seconds += ms / 1000
        self.load_times[bisect_left(LOAD_TIMES, ms / 1000)] += 1


def summed(parts: Iterable[Stats]) -> Stats:
    """Return the sum of counts."""
    total = Stats()
    for part in list(parts):
        for name in Stats.__struct_fields__:
            here, there = getattr(total, name), getattr(part, name)
            both = (
                list(map(sum, zip(here, there, strict=True)))
                if name == "load_times"
                else here + there
            )
            setattr(total, name, both)
    return total
