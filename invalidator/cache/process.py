"""What the reads of one process share."""

import threading
import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from invalidator import layout
from invalidator.cache.codecs import Codec
from invalidator.cache.entry import Names
from invalidator.cache.kinds import Policy
from invalidator.cache.loading import Flight

MOST_EXTRAS = 10_000  # keys of which the last load's own tags are remembered


class Stats(Struct):
    """Counts since the cache was made."""

    hits: int = 0
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


class Spec(Struct):
    """How one kind of entry is read and written."""

    policy: Policy
    codec: Codec
    tagging: bool = False  # a load has named tags of its own


class Process:
    """The clock, the loads under way, and what was learnt of entries."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,  # compared with Redis's
        timer: Callable[[], float] = time.monotonic,  # for what happens in this process
    ) -> None:
        self.clock = clock
        self.timer = timer
        self._lock = threading.Lock()  # of `extras`
        self.stats = Stats()
        self.flights: dict[bytes, Flight] = {}
        self.extras: dict[str, tuple[str, ...]] = {}
        self.stamp = layout.TAG_STAMP
        self.version = layout.VERSION
        self._skew = 0.0  # ms that the clock of Redis is ahead

    def now(self) -> float:
        """Return the time of Redis's clock in ms, as far as it is known."""
        return self.clock() * 1000 + self._skew

    def heard(self, redis_now: float, asked: float) -> None:
        """Note the time that Redis has said, and when it was asked."""
        self._skew = redis_now - 500 * (asked + self.clock())

    def known(self, names: Names) -> Names:
        """Return the names with those that the entry's last load added."""
        extra = self.extras.get(names.key)
        return Names(names.key, names.declared, extra) if extra else names

    def learnt(self, names: Names) -> None:
        """Remember the names that a load added."""
        if not names.extra:
            self.extras.pop(names.key, None)
            return
        with self._lock:
            if len(self.extras) >= MOST_EXTRAS:
                self.extras.pop(next(iter(self.extras)), None)
            self.extras[names.key] = names.extra

    def stamps(self, tags: Iterable[str]) -> set[str]:
        """Return the keys of tags' stamps."""
        return {self.stamp.replace("{tag}", tag) for tag in tags}

    def is_version(self, name: str) -> bool:
        """Return whether a key is a version's."""
        return name.startswith(self.version.partition("{")[0])
