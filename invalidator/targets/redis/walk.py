"""One pass over all keys of a Redis: page by page, at a pace, deleting those that match."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence

from msgspec import Struct

from invalidator.redisclient import Command
from invalidator.redisclient.server import Server, Sleep
from invalidator.targets.redis.glob import escape
from invalidator.targets.redis.patterns import Matcher
from invalidator.targets.redis.sweep import Pace, Progress
from invalidator.targets.redis.tag_work import Unlink

SAMPLE = 100  # keys that could not be deleted, kept for a person to see
SHORTEST_REST = 0.01  # seconds; shorter sleeps take longer than requested


class Node(Struct, frozen=True):
    """A server to sweep, or one primary of a cluster."""

    server: Server
    unlink: Unlink
    cluster: bool = False
    paced: Callable[[], float] = lambda: 0.0  # seconds that `unlink` has waited for the pace


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
