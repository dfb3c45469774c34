"""Who waits for a sweep, how fast it may go, and what it has done so far."""

import asyncio
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from invalidator.model import Failure
from invalidator.redisclient.errors import Verdict
from invalidator.targets.redis.patterns import Matcher


class Pace(Struct, frozen=True):
    """How much of a server a sweep may take."""

    share: float = 0.25  # of the time, of the server's and of ours
    bytes_per_second: float = 64 * 2**20  # of names, on the wire
    count: int = 1000  # keys a command looks at, at most
    slow: float = 0.02  # seconds; after a page that took longer, the next one is half as large

    def pause(self, busy: float, size: int) -> float:
        """How long to wait after a page that took `busy` seconds and `size` bytes."""
        return max(busy / self.share, size / self.bytes_per_second) - busy

    def next_count(self, count: int, busy: float) -> int:
        if busy > self.slow:
            return max(count // 2, min(50, self.count))
        return min(count * 2, self.count) if busy < self.slow / 4 else count


class Progress(Struct):
    """What a sweep has done so far. It goes on counting when it has to begin anew."""

    patterns: int = 0
    total: int = 0  # keys to see, as the servers counted them
    seen: int = 0  # about so many, where the server filters
    matched: int = 0
    removed: int = 0
    protected: int = 0  # matched, but not ours to delete
    on_their_way: int = 0  # found in the last pass, and gone to another primary
    passes: int = 0
    began: float = 0.0  # on the sweeper's clock
    seconds: float = 0.0  # since then
    refused: int = 0  # matched in the last pass, and can't be deleted
    failed: dict[bytes, Verdict] = field(default_factory=dict)  # some of these
    reported: dict[str, Sequence[Failure]] = field(default_factory=dict)  # by cache, at the end
    again: str = ""  # why the last pass was not enough
    ended: bool = False
    unhit: dict[bytes, Matcher] = field(default_factory=dict)  # watched patterns without a key yet

    def watch(self, patterns: Iterable[bytes]) -> None:
        self.unhit |= {pattern: Matcher([pattern]) for pattern in patterns}

    def notice(self, found: list[bytes]) -> None:
        """Strike out each watched pattern that one of these matches."""
        for pattern in [each for each in self.unhit if self.unhit[each].matching(found)]:
            del self.unhit[pattern]


class Ticket:
    """Patterns that no sweep has begun on, and all who wait for one."""

    def __init__(self, requested_at: float) -> None:
        self.patterns: set[bytes] = set()
        self.watched: set[bytes] = set()  # those of which somebody wants to know if they match
        self.requested_at = requested_at
        self.progress = Progress()
        self._done = asyncio.Event()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def hit(self, pattern: str) -> bool | None:
        """Whether a watched pattern matched a key. None: it was not asked for, or is under way."""
        known = self.done and pattern.encode() in self.patterns
        return pattern.encode() not in self.progress.unhit if known else None

    async def wait(self) -> Progress:
        """Until the sweep is over; what it came to."""
        await self._done.wait()
        return self.progress

    def finish(self) -> None:
        self._done.set()
