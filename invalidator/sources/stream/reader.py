"""Reads what a group of consumers has not read yet, from all its streams."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from msgspec import Struct, field

from invalidator.errors import Unavailable
from invalidator.redisclient import Command
from invalidator.sources.stream.entries import Entry
from invalidator.sources.stream.group import Group
from invalidator.sources.stream.server import StreamServer, Vanished

MOMENT: Final = 0.5  # seconds that an empty read waits
LATE: Final = 0.15  # seconds; Redis ends a wait by its own clock, which ticks ten times a second
PAGE: Final = 1000  # entries in one reply: Redis does nothing else meanwhile, some 4 ms
PAGE_BYTES: Final = 4 << 20
BATCH_BYTES: Final = 16 << 20
UNKNOWN_SIZE: Final = 400_000.0  # bytes of an entry, before the first one came


class Found(Struct):
    """The entries that one read found, by stream."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    lost: dict[str, list[bytes]] = field(default_factory=dict)  # trimmed before they were settled
    count: int = 0
    size: int = 0  # bytes, estimated

    def add(self, key: str, entries: list[Entry]) -> int:
        """Add entries; return their bytes."""
        size = _size(entries)
        self.entries.setdefault(key, []).extend(entries)
        self.count += len(entries)
        self.size += size
        return size


def _size(entries: Sequence[Entry]) -> int:
    """Return the bytes of the values; where entries have several fields, of names as well."""
    if entries and len(entries[0][1]) == len(entries[-1][1]) == 2:
        return sum(len(entry[1][1]) for entry in entries)  # THE hot path
    return sum(sum(map(len, entry[1])) for entry in entries)


class Reader:
    """Reads new entries, in replies that are bounded in number and bytes."""

    def __init__(
        self,
        server: StreamServer,
        keys: Sequence[str],
        group: str,
        consumer: str,
        timeout: float,
        moment: float,
        max_wait: float,
    ) -> None:
        self._server = server
        self._keys = list(keys)
        self._words: Command = ("XREADGROUP", "GROUP", group, consumer, "COUNT")
        # A wait ends before the reply's deadline; where that leaves no time, we wait here.
        self._apart = server.spread and len(self._keys) > 1
        self._blocks = timeout >= 2 * LATE and not self._apart
        self._moment = min(MOMENT, moment, timeout - LATE if self._blocks else LATE)
        self._max_wait = max_wait
        self.paused: Collection[str] = ()  # streams that are not read
        self.stopped = False  # then a batch that is not full waits no longer
        self._turn = 0  # whose turn it is, where a read is for fewer entries than streams
        self._typical = UNKNOWN_SIZE

    async def read(self, limit: int) -> Found | None:
        """Return new entries: after the first, as long as there are more and there is room."""
        found = Found()
        wait, until = self._moment, 0.0
        while found.count < limit and found.size < BATCH_BYTES:
            try:
                full = await self._read_page(limit - found.count, wait, found)
            except (Unavailable, Vanished):
                if found.count:
                    break  # the next read meets it, too
                raise
            if not found.count:
                return None
            until = until or time.monotonic() + self._max_wait
            left = until - time.monotonic()
            if self.stopped or (not full and left <= 0):
                break
            wait = 0.0 if full else min(self._moment, left)
        return found

    async def _read_page(self, limit: int, wait: float, found: Found) -> bool:
        """Add a page to `found`; return whether there is probably more."""
        keys = self._whose_turn(limit)
        if not keys:
            await asyncio.sleep(wait)
            return False
        each = max(1, self.count(limit) // len(keys))
        block: Command = ("BLOCK", max(1, int(wait * 1000))) if wait and self._blocks else ()
        commands = [
            (*self._words, each, *block, "STREAMS", *asked, *[">"] * len(asked))
            for asked in ([[key] for key in keys] if self._apart else [keys])
        ]
        replies = await self._server.ask_group(commands)
        streams = [stream for reply in replies for stream in reply or ()]
        if not streams and not self._blocks:
            await asyncio.sleep(wait)
        full = False
        for key, entries in streams:
            size = found.add(key.decode(), entries)
            full = full or len(entries) == each
            # The size of entries bounds the memory that a reply takes.
            average = size / max(1, len(entries)) + 1
            self._typical = max(average, (self._typical + average) / 2)
        return full

    def _whose_turn(self, limit: int) -> list[str]:
        keys = [key for key in self._keys if key not in self.paused]
        if limit >= len(keys):
            return keys
        self._turn = (self._turn + limit) % len(keys)
        return (keys[self._turn :] + keys)[:limit]

    def count(self, limit: int) -> int:
        """Return how many entries of the usual size one reply may have."""
        return max(1, min(limit, PAGE, int(PAGE_BYTES / self._typical)))


BEGIN: Final = b"0-0"


class Redelivery:
    """Finds one stream's entries that were delivered and not acknowledged."""

    def __init__(
        self, group: Group, claim_after: float, in_work: Callable[[str], Collection[bytes]]
    ) -> None:
        """`in_work` returns the ids of a stream that were given out and are not settled."""
        self._group = group
        self._claim_after = claim_after
        self._in_work = in_work
        self._after: bytes | None = BEGIN  # our own up to here were given; None: all of them
        self._cursor = BEGIN  # how far entries of dead consumers were claimed
        self._claim_at = 0.0

    def begin(self) -> None:
        """Read everything again that is not acknowledged, except for what is in work."""
        self._after = self._cursor = BEGIN
        self._claim_at = 0.0

    async def next(self, count: int) -> Found | None:
        """Return the next entries; None if there are none for now. Raises Unavailable, Vanished."""
        group = self._group
        lost: list[bytes] = []
        while True:
            if self._after is not None:
                entries = await group.pending(self._after, count)
                self._after = entries[-1][0] if entries else None
            elif time.monotonic() >= self._claim_at:
                self._cursor, entries, lost = await group.claim(
                    self._cursor, count, self._claim_after
                )
                if self._cursor == BEGIN:
                    self._claim_at = time.monotonic() + self._claim_after / 2
            else:
                return None
            if (entries or lost) and (found := self._found(entries, lost)):
                return found

    def _found(self, entries: list[Entry], lost: list[bytes]) -> Found | None:
        """Leave out what is in work: after a broken link, too, it must not be given twice."""
        key = self._group.key
        ours = self._in_work(key)
        news = [entry for entry in entries if entry[0] not in ours]
        gone = [entry[0] for entry in news if entry[1] is None]
        gone += [each for each in lost if each not in ours]
        if not news and not gone:
            return None
        found = Found(lost={key: gone} if gone else {})
        found.add(key, [entry for entry in news if entry[1] is not None])
        return found
