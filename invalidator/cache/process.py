"""What the reads of one process share."""

import threading
import time
from collections.abc import Callable, Iterable

from msgspec import Struct, field

from invalidator import layout
from invalidator.cache.codecs import Codec
from invalidator.cache.entry import Names
from invalidator.cache.kinds import Policy
from invalidator.cache.loading import Flight
from invalidator.cache.stats import Stats

MOST_EXTRAS = 10_000  # keys of which the last load's own tags are remembered


class Spec(Struct):
    """How one kind of entry is read and written."""

    policy: Policy
    codec: Codec
    tagging: bool = False  # a load has named tags of its own
    stats: Stats = field(default_factory=Stats)


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
        self.stats: dict[str, Stats] = {}  # by template
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
