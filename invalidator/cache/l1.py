"""The cache in the process (L1): copies of entries, until their invalidation is announced.

A copy is taken only from a reply of Redis whose read was registered before its command was sent,
and of which no invalidation was announced since. Nothing is kept while announcements may be missed.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct

from invalidator.cache.breaker import Breaker
from invalidator.cache.codecs import Codec, Undecodable, value_of, value_start
from invalidator.cache.entry import HIT, Names, judge
from invalidator.cache.errors import CacheError, LoadsExhausted, NotFound
from invalidator.cache.kinds import Size, size
from invalidator.cache.process import Process, Spec
from invalidator.cache.seen import SEEN

SILENCE: Final = 3.0  # seconds: a link that was silent for so long is not trusted
OVERHEAD: Final = 500  # bytes of a copy, besides its entry and its names


class Nothing:
    """There is no copy that may be served."""


NOTHING: Final = Nothing()


class Near(Struct):
    """Counts since the L1 was made."""

    kept: int = 0
    refused: int = 0  # copies not taken, as an invalidation was announced since the read began
    dropped: int = 0  # by announcements
    evicted: int = 0  # for want of room
    gaps: int = 0  # everything was dropped, as announcements may have been missed
    last: int = 0  # served while Redis was unavailable


class Copy(Struct, eq=False):
    key: str
    stamps: tuple[str, ...]  # and versions that it depends on
    entry: bytes
    start: int  # of the value
    at: float
    fresh_until: float  # by the clock of this process
    size: int
    value: Any = None  # decoded by `codec`, where readers share it
    codec: Codec | None = None
    visited: bool = False
    older: "Copy | None" = None
    newer: "Copy | None" = None


class Mark(Struct, eq=False):
    """A read that is under way."""

    names: Sequence[str]
    alive: bool = True  # no invalidation of its names was announced since


class L1:
    """Copies of entries, bounded in number and in bytes; SIEVE chooses what has to go.

    SIEVE keeps copies in the order of their arrival. A hand moves from the oldest to the newest; it
    spares a copy that was read since the hand last passed, and evicts the first that was not.
    """

    def __init__(
        self,
        *,
        entries: int = 10_000,
        bytes: Size = "64MiB",  # noqa: A002 - as it is called everywhere
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stats = Near()
        self.most_entries, self.most_bytes = entries, size(bytes)
        if entries < 1 or self.most_bytes < 1:
            raise CacheError("an L1 has room for at least one entry and one byte")
        self.clock = clock
        self.bytes = 0
        self.on = False  # all announcements are received
        self.trusted_until = 0.0  # without a sign of life of the link
        self._copies: dict[str, Copy] = {}
        self._last: dict[str, Copy] = {}  # what was there when the link was lost
        self._dependents: dict[str, set[str]] = {}  # stamp -> keys of copies
        self._marks: dict[str, set[Mark]] = {}  # name -> reads under way
        self._oldest: Copy | None = None
        self._newest: Copy | None = None
        self._hand: Copy | None = None
        self._pauses = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._copies)

    # --- reading --------------------------------------------------------------------------------

    def look(self, key: str, declared: tuple[str, ...], spec: Spec) -> Any:
        """Return the value of a copy; NOTHING where none may be served. May raise NotFound."""
        copy = self._copies.get(key)
        if copy is None:
            return NOTHING
        now, policy = self.clock(), spec.policy
        if now >= copy.fresh_until or now >= self.trusted_until or now - copy.at >= policy.l1_ttl:
            return NOTHING
        if (seen := SEEN.get()) is not None:
            seen.note(key, copy.stamps, copy.fresh_until - now, policy.swr)
        value = _value(copy, declared, spec)
        if value is not NOTHING:
            copy.visited = True
            spec.stats.l1 += 1
        return value

    def last(self, names: Names, spec: Spec) -> Any:
        """Return what was there when the link was lost, if the kind serves it on errors."""
        copy = self._last.get(names.key) or self._copies.get(names.key)
        if copy is None or self.clock() >= copy.fresh_until + spec.policy.stale_if_error:
            return NOTHING
        value = _value(copy, names.declared, spec)
        self.stats.last += value is not NOTHING
        return value

    # --- filling --------------------------------------------------------------------------------

    def began(self, names: Names) -> Mark | None:
        """Register a read before its command is sent; None while nothing is kept."""
        mark = Mark(names.keys)
        with self._lock:
            if not self.on:
                return None
            for name in mark.names:
                self._marks.setdefault(name, set()).add(mark)
        return mark

    def ended(
        self,
        mark: Mark,
        names: Names,
        spec: Spec,
        here: Process,
        found: Sequence[bytes | None] | None,
    ) -> None:
        """End a read; keep a copy of what it found if its mark is alive."""
        copy = None if found is None else _copied(names, spec, here, found, self.clock())
        with self._lock:
            for name in mark.names:
                reads = self._marks.get(name)
                if reads is not None:
                    reads.discard(mark)
                    if not reads:
                        del self._marks[name]
            if copy is not None and mark.alive:
                self._keep(copy)
            self.stats.refused += copy is not None and not mark.alive

    def _keep(self, copy: Copy) -> None:
        if copy.size > self.most_bytes:
            return
        if there := self._copies.get(copy.key):
            self._remove(there)
        while len(self._copies) >= self.most_entries or self.bytes + copy.size > self.most_bytes:
            self._evict()
        self._copies[copy.key] = copy
        for stamp in copy.stamps:
            self._dependents.setdefault(stamp, set()).add(copy.key)
        copy.older, self._newest = self._newest, copy
        if copy.older is None:
            self._oldest = copy
        else:
            copy.older.newer = copy
        self.bytes += copy.size
        self.stats.kept += 1

    def _evict(self) -> None:
        hand = self._hand or self._oldest
        while hand is not None and hand.visited:
            hand.visited = False
            hand = hand.newer or self._oldest
        assert hand is not None
        self._hand = hand
        self._remove(hand)
        self.stats.evicted += 1

    def _remove(self, copy: Copy) -> None:
        del self._copies[copy.key]
        for stamp in copy.stamps:
            keys = self._dependents[stamp]
            keys.discard(copy.key)
            if not keys:
                del self._dependents[stamp]
        if self._hand is copy:
            self._hand = copy.newer
        if copy.older is None:
            self._oldest = copy.newer
        else:
            copy.older.newer = copy.newer
        if copy.newer is None:
            self._newest = copy.older
        else:
            copy.newer.older = copy.older
        copy.older = copy.newer = None
        self.bytes -= copy.size

    # --- what is announced ----------------------------------------------------------------------

    def drop(self, names: Iterable[str]) -> None:
        """Drop the copies of these keys, and those that depend on them."""
        with self._lock:
            for name in names:
                self._drop(name)

    def drop_patterns(self, globs: Iterable[str]) -> None:
        """Drop what may match: all names that begin as a pattern does, up to its first wildcard."""
        starts = tuple({_literal(glob) for glob in globs})
        with self._lock:
            names = {*self._copies, *self._dependents, *self._marks}
            for name in names:
                if name.startswith(starts):
                    self._drop(name)

    def _drop(self, name: str) -> None:
        for mark in self._marks.get(name, ()):
            mark.alive = False
        for key in (name, *self._dependents.get(name, ())):
            if copy := self._copies.get(key):
                self._remove(copy)
                self.stats.dropped += 1

    def gap(self) -> None:
        """Drop everything: announcements were missed."""
        with self._lock:
            self._empty()
            self.stats.gaps += self.on

    def begin(self) -> None:
        """Keep copies from now on: the link is up, and every sender knows that we listen."""
        with self._lock:
            self._last = {}
            self.on = not self._pauses

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep nothing within this context, and begin anew after it: for tests."""
        with self._lock:
            self._pauses += 1
            self.on = False
            self._empty()
        try:
            yield
        finally:
            self._pauses -= 1  # the next sign of life of the link lets it begin

    def end(self) -> None:
        """Keep nothing: the link is lost. What was there is set aside for when Redis is down."""
        with self._lock:
            if self.on:
                self.on = False
                self.stats.gaps += 1
                self._last = self._copies
                self._empty()

    def _empty(self) -> None:
        for reads in self._marks.values():
            for mark in reads:
                mark.alive = False
        for copy in self._copies.values():
            copy.older = copy.newer = None  # a long chain would be freed by recursion
        self._copies, self._dependents, self.bytes = {}, {}, 0
        self._oldest = self._newest = self._hand = None


def stands_in(spec: Spec, breaker: Breaker, error: Exception) -> bool:
    """Return whether a last value may stand in for a load that failed while Redis is down."""
    if not breaker.failures or not spec.policy.stale_if_error or isinstance(error, NotFound):
        return False
    return isinstance(error, (*spec.policy.stale_on, LoadsExhausted))


def _value(copy: Copy, declared: tuple[str, ...], spec: Spec) -> Any:
    if copy.stamps != declared and copy.stamps[: len(declared)] != declared:
        return NOTHING
    codec = spec.codec
    if copy.codec is codec:
        return copy.value
    if copy.entry[8:12] != spec.policy.schema:
        return NOTHING
    try:
        value = value_of(copy.entry, copy.start, codec)
    except Undecodable:
        return NOTHING
    if spec.policy.share:
        copy.value = value
        copy.codec = codec
    return value


def _copied(
    names: Names, spec: Spec, here: Process, found: Sequence[bytes | None], now: float
) -> Copy | None:
    """Return a copy of what was found, if it is fresh and may be served."""
    entry, line = found[0], names.line(found[1:])
    if entry is None or line is None or judge(entry, line, here.now(), spec.policy) != HIT:
        return None
    fresh_until = now + (int(entry[61:74]) - here.now()) / 1000
    if fresh_until <= now:
        return None
    taken = len(entry) + sum(map(len, names.keys)) + OVERHEAD
    return Copy(names.key, names.stamps, entry, value_start(line), now, fresh_until, taken)


def _literal(glob: str) -> str:
    """Return what every match begins with."""
    for at, letter in enumerate(glob):
        if letter in "*?[\\":
            return glob[:at]
    return glob
