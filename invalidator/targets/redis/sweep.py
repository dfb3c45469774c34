"""Who waits for a sweep, how much of a server it may take, and its progress."""

import asyncio
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from invalidator.model import Failure
from invalidator.redisclient.errors import Verdict
from invalidator.targets.redis.patterns import Matcher


class Pace(Struct, frozen=True):
    """The share of a server that a sweep may take."""

    share: float = 0.25  # of the time, of the server's and of ours
    bytes_per_second: float = 64 * 2**20  # of names, on the wire
    count: int = 1000  # keys a command looks at, at most
    slow: float = 0.02  # seconds; after a page that took longer, the next one is half as large

    def pause(self, busy: float, size: int) -> float:
        """Return the seconds to wait after a page that took `busy` seconds and `size` bytes."""
        return max(busy / self.share, size / self.bytes_per_second) - busy

    def next_count(self, count: int, busy: float) -> int:
        if busy > self.slow:
            return max(count // 2, min(50, self.count))
        return min(count * 2, self.count) if busy < self.slow / 4 else count


class Progress(Struct):
    """The progress of a sweep. It keeps counting when the sweep has to start again."""

    patterns: int = 0
    total: int = 0  # keys to see, as the servers counted them
    seen: int = 0  # estimated where the server filters
    matched: int = 0
    removed: int = 0
    protected: int = 0  # matched, but not ours to delete
    passes: int = 0
    began: float = 0.0  # on the sweeper's clock
    seconds: float = 0.0  # since then
    refused: int = 0  # matched in the last pass, and could not be deleted
    failed: dict[bytes, Verdict] = field(default_factory=dict)  # a sample of these
    reported: dict[str, Sequence[Failure]] = field(default_factory=dict)  # by cache, at the end
    again: str = ""  # why another pass is needed
    ended: bool = False
    unhit: dict[bytes, Matcher] = field(default_factory=dict)  # watched, without a key

    def watch(self, patterns: Iterable[bytes]) -> None:
        self.unhit |= {pattern: Matcher([pattern]) for pattern in patterns}

    def notice(self, found: list[bytes]) -> None:
        """Remove each watched pattern that matches one of these."""
        for pattern in [each for each in self.unhit if self.unhit[each].matching(found)]:
            del self.unhit[pattern]


class Ticket:
    """Patterns that wait for the next sweep, and all who wait for them."""

    def __init__(self, requested_at: float) -> None:
        self.patterns: set[bytes] = set()
        self.watched: set[bytes] = set()  # report whether these match a key
        self.requested_at = requested_at
        self.progress = Progress()
        self._done = asyncio.Event()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def hit(self, pattern: str) -> bool | None:
        """Return whether a watched pattern matched a key; None: not requested, or not over."""
        known = self.done and pattern.encode() in self.patterns
        return pattern.encode() not in self.progress.unhit if known else None

    async def wait(self) -> Progress:
        """Wait until the sweep is over; return its progress."""
        await self._done.wait()
        return self.progress

    def finish(self) -> None:
        self._done.set()
