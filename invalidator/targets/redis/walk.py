"""One pass over all keys of a Redis: page by page, at a pace, deleting those that match."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence

from msgspec import Struct, field

from invalidator.model import Failure
from invalidator.redisclient import Cluster, Command, nodes
from invalidator.redisclient.errors import Verdict, reaching
from invalidator.redisclient.server import Server, Sleep
from invalidator.targets.pace import PacedKeys, Pacer
from invalidator.targets.redis.glob import escape
from invalidator.targets.redis.keys import Keys, NodeKeys
from invalidator.targets.redis.patterns import Matcher
from invalidator.targets.redis.tag_work import Unlink


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
    for_others: int = 0  # requests of other members that it served
    elsewhere: bool = False  # another member swept
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
        """Return whether a watched pattern matched a key; None: not requested, not over, or
        swept by another member."""
        known = self.done and pattern.encode() in self.patterns and not self.progress.elsewhere
        return pattern.encode() not in self.progress.unhit if known else None

    async def wait(self) -> Progress:
        """Wait until the sweep is over; return its progress."""
        await self._done.wait()
        return self.progress

    def finish(self) -> None:
        self._done.set()


SAMPLE = 100  # keys that could not be deleted, kept for a person to see
SHORTEST_REST = 0.01  # seconds; shorter sleeps take longer than requested


class Node(Struct, frozen=True):
    """A server to sweep, or one primary of a cluster."""

    server: Server
    unlink: Unlink
    cluster: bool = False
    paced: Callable[[], float] = lambda: 0.0  # seconds that `unlink` has waited for the pace

    @classmethod
    def of(cls, server: Server, keys: Keys | NodeKeys, pacer: Pacer) -> "Node":
        paced = PacedKeys(keys, pacer)
        return cls(server, paced.unlink, isinstance(keys, NodeKeys), lambda: paced.waited)


async def nodes_on(server: Server, keys: Keys, pacer: Pacer) -> Sequence[Node]:
    """Return all nodes that have keys, as they are now. Raises Unavailable."""
    if not isinstance(server.client, Cluster):
        return [Node.of(server, keys, pacer)]
    with reaching(server.name):
        found = await nodes(server.client)
    primaries = [Server(client, address) for address, client in found.items()]
    return [Node.of(each, NodeKeys(each), pacer) for each in primaries]


class Walk:
    """Walks all keys. `spared` is never deleted, whatever pattern matches it."""

    def __init__(
        self,
        spared: Matcher,
        pace: Pace,
        note: Callable[[], None],
        report: Callable[[Progress], None],
        *,
        clock: Callable[[], float],
        cpu: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        """`note` and `report` are called with every page. `cpu` returns the seconds that
        our thread has worked."""
        self.spared = spared
        self._pace = pace
        self._note = note
        self._report = report
        self._clock = clock
        self._cpu = cpu
        self._sleep = sleep

    async def over(self, nodes: Sequence[Node], matcher: Matcher, progress: Progress) -> None:
        """Walk all nodes side by side. Raises Unavailable."""
        progress.passes += 1
        progress.seen = 0
        progress.refused = 0
        progress.failed.clear()
        progress.total = await _keys(nodes)
        await _side_by_side(self._one(node, matcher, progress) for node in nodes)

    async def _one(self, node: Node, matcher: Matcher, progress: Progress) -> None:
        cursor, count, owed = b"0", self._pace.count, 0.0
        while True:
            self._note()
            began, worked, paced = self._clock(), self._cpu(), node.paced()
            cursor, keys = await _page(node.server, cursor, matcher.prefix, count)
            looked_at = count if matcher.prefix else len(keys)
            progress.seen = min(progress.seen + looked_at, progress.total)
            matching = self._cpu()
            found = matcher.matching(keys)
            worked += self._cpu() - matching
            if found:
                await self._delete(node, found, progress)
            if cursor == b"0":
                return
            # Waiting for the pace of deletes is no work of the server's.
            busy = self._clock() - began - (node.paced() - paced) - self._elsewhere(worked)
            busy = max(0.0, busy)
            count = self._pace.next_count(count, busy)
            self._report(progress)
            owed = await self._rest(owed + self._pace.pause(busy, sum(map(len, keys))))

    def _elsewhere(self, since: float) -> float:
        """Return the seconds our thread worked for others, while the reply may have waited for it.

        A page itself costs much less. Counted as the server's, they would slow the sweep down
        whenever there is much to do.
        """
        worked = self._cpu() - since
        return worked if worked > self._pace.slow else 0.0

    async def _rest(self, owed: float) -> float:
        """Sleep, unless it is too short to be exact; return the seconds still owed."""
        if owed < SHORTEST_REST:
            return owed
        began = self._clock()
        await self._sleep(owed)
        return owed - (self._clock() - began)

    async def _delete(self, node: Node, found: set[bytes], progress: Progress) -> None:
        progress.notice(list(found))
        spared = self.spared.matching(list(found))
        found -= spared
        progress.matched += len(found)
        progress.protected += len(spared)
        removed, failed = await node.unlink(list(found))
        progress.removed += removed
        for key, verdict in failed.items():
            progress.refused += 1
            if len(progress.failed) < SAMPLE:
                progress.failed[key] = verdict


async def _keys(nodes: Sequence[Node]) -> int:
    return sum([(await node.server.insist([("DBSIZE",)]))[0] for node in nodes])


async def _page(
    server: Server, cursor: bytes, prefix: bytes, count: int
) -> tuple[bytes, list[bytes]]:
    """Read a page. The server filters by a shared prefix, since sending names costs most."""
    match = ("MATCH", escape(prefix) + b"*") if prefix else ()
    command: Command = ("SCAN", cursor, "COUNT", count, *match)
    ((cursor, keys),) = await server.insist([command])
    return cursor, keys


async def _side_by_side(walks: Iterable[Coroutine[object, object, None]]) -> None:
    """Run all; the first failure cancels the others, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for walk in walks:
                group.create_task(walk)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
