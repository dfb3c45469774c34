"""One Redis, and the caches that live on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

import structlog
from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.model import Cause, Failure, Names, Outcome, Ticket
from invalidator.redisclient import Client, Command, Reply, ping
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Server
from invalidator.rules.rule import Cache
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.runtime.retry import until_available
from invalidator.targets.pace import PacedKeys, Pacer
from invalidator.targets.redis.announce import Announcer, When
from invalidator.targets.redis.apply import CacheStore, layouts, spared
from invalidator.targets.redis.count import Counted, counted, matched
from invalidator.targets.redis.failover import IdentityWatch, Servers
from invalidator.targets.redis.keys import Keys
from invalidator.targets.redis.sweep_fleet import Fleet
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.walk import Node, Progress, nodes_on
from invalidator.targets.redis.walk import Ticket as Sweep

log = structlog.get_logger("invalidator")

T = TypeVar("T")
MOST_PATTERNS = 50_000  # distinct ones that may wait for a sweep; then the intake waits, too
PAGE = 1000  # keys that one SCAN looks at
LOGGED_EVERY = 5.0  # seconds between two lines about a sweep
WATCHED_EVERY = 0.1  # while a person watches it


class Host:
    """One Redis. `part` is whether it answers, `sweeps` whether it can be swept."""

    def __init__(
        self,
        client: Client,
        name: str,
        part: Part,
        sweeps: Part,
        *,
        announce: When = "listened",
        pacer: Pacer | None = None,
        observe: Callable[[Progress], None] | None = None,
        progress: Callable[[], None] = lambda: None,
        shares: bool = False,
    ) -> None:
        """`progress` is called with each step of what may take long; `shares` is whether this is
        a member of a fleet, of which one sweeps for all."""
        self.name = name
        self.part = part
        self.sweeps = sweeps
        self.servers = Servers(client, name)
        self.identity_watch: IdentityWatch | None = None
        self._client = client
        self._server = Server(client, name)
        self._keys = Keys(self._server)
        self._pacer = pacer or Pacer()
        self._paced = PacedKeys(self._keys, self._pacer)
        self._progress = progress
        self._announcer = Announcer(client, name, when=announce)
        self._sweeper = Sweeper(
            self._nodes,
            spared(()),
            sweeps,
            observe=observe or partial(_observe, name),
            observe_every=WATCHED_EVERY if observe else LOGGED_EVERY,
            progress=progress,
            fleet=Fleet(self._server) if shares else None,
        )
        sweeps.ready()

    def spare(self, caches: Mapping[str, Cache]) -> None:
        """Protect from now on what these caches name."""
        self._sweeper.protect(spared(caches.values()))

    def stores(self, caches: Mapping[str, Cache]) -> dict[str, CacheStore]:
        """Return a store for each of its caches."""
        return {
            name: CacheStore(cache, self._server, self._paced, self._sweeper, self._members)
            for name, cache in caches.items()
        }

    async def apply(self, cache: CacheStore, names: Names, cause: Cause) -> Outcome:
        """Invalidate names in one cache, and announce it. Raises Unavailable; then repeat it."""
        if self.identity_watch:
            await self.identity_watch.known()
        return await self._noting(self._apply(cache, names, cause), cause.source)

    async def count(self, cache: Cache, names: Names) -> list[Counted]:
        """Count how much of them exists. Raises Unavailable."""
        found = await counted(self._server, cache, layouts(cache), names)
        if names.patterns:
            found.append(await matched(self._sweeper, names.patterns))
        return found

    async def present(self, keys: Sequence[str]) -> list[bool | None]:
        """Return whether each exists; None where we may not know. Raises Unavailable."""
        replies = await self._server.ask([("EXISTS", key) for key in keys])
        return [None if isinstance(reply, Exception) else bool(reply) for reply in replies]

    async def announce(self, cause: Cause, cache: str, names: Names) -> None:
        """Announce what was applied elsewhere, at the edge."""
        await until_available(
            lambda: self._announcer.announce(cause, cache, names),
            self.part,
            who=f"{cause.source}, announcing",
        )

    async def look(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands that only read. Raises Unavailable."""
        return await self._server.ask(commands)

    async def pages(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """Yield the keys that match, page by page of all keys. Raises Unavailable."""
        for node in await self._nodes():
            cursor: bytes | int = 0
            while True:
                asked: Command = ("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
                ((cursor, keys),) = await node.server.insist([asked])
                yield keys
                if not int(cursor):
                    break

    def watch(self, patterns: Collection[str]) -> Sweep:
        """Return the sweep that will serve them, and make it note whether each matched a key."""
        return self._sweeper.watch([pattern.encode() for pattern in patterns])

    @property
    def waiting(self) -> int:
        """Return the number of distinct patterns that no sweep has begun on."""
        return self._sweeper.waiting

    async def probe(self) -> None:
        """Raise Unavailable unless the server lets us delete."""
        await self._noting(self._keys.probe(), "probe")

    async def ping(self) -> None:
        """Raise Unavailable unless it answers."""
        await self._noting(ping(self._client, self.name), "probe")

    async def recover(self, cache: CacheStore) -> None:
        """Consume what a crash left of tags; one registry serves all caches of a Redis."""
        consumed = await self._noting(cache.tags.recover(), "recovery")
        if consumed.existed:
            log.info("tags-recovered", existed=consumed.existed)
        if consumed.failed:
            reason = next(iter(consumed.failed.values())).message
            log.warning("tags-not-recovered", tags=len(consumed.failed), reason=reason)

    async def run(self) -> None:
        """Serve patterns, and send heartbeats, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweeper.run())
            tasks.create_task(self._announcer.run())

    async def close(self) -> None:
        await self._announcer.end()
        await self._client.aclose()

    async def _apply(self, cache: CacheStore, names: Names, cause: Cause) -> Outcome:
        if names.patterns and self._sweeper.waiting >= MOST_PATTERNS:
            # The next sweep to begin takes all that wait.
            raise Unavailable(self.name, "too many patterns are waiting for the next sweep")
        if names.versions:
            await self._pacer.take(len(names.versions))
        outcome = await cache.apply(names)
        if names.versions:
            self._pacer.deleted(len(names.versions))
        partly = names.patterns or outcome.failures
        gone = _without_patterns(names, outcome.failures) if partly else names
        await self._announcer.announce(cause, cache.name, gone)
        if outcome.sweeps:
            announced = names.patterns if self._announcer.has_listeners else None
            outcome.sweeps = [
                AnnouncedSweep(ticket, self._announcer, self.part, cause, cache.name, announced)
                for ticket in outcome.sweeps
            ]
        metrics.EXISTED.inc(outcome.existed)
        return outcome

    async def _members(self, keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        """Delete members of tags, of which a single one may have tens of millions."""
        self._progress()
        return await self._paced.unlink(keys)

    async def _noting(self, work: Awaitable[T], who: str) -> T:
        """Report to readiness, which shows each Redis separately."""
        try:
            result = await work
        except Unavailable as error:
            self.part.not_ready(str(error), who)
            raise
        if self.part.reason:
            self.part.ready(who)
        return result

    async def _nodes(self) -> Sequence[Node]:
        return await nodes_on(self._server, self._keys, self._pacer)


class AnnouncedSweep(Struct, frozen=True):
    """A sweep that is announced when it is over: earlier, a listener could read an entry again."""

    ticket: Ticket
    announcer: Announcer
    part: Part
    cause: Cause
    cache: str
    patterns: set[str] | None  # None: there were no listeners when it was requested

    async def wait(self) -> Sequence[Failure]:
        failures = await self.ticket.wait()
        if self.patterns is None:
            self.announcer.skip()
        else:
            names = Names(patterns=self.patterns)
            await until_available(
                lambda: self.announcer.announce(self.cause, self.cache, names),
                self.part,
                who=f"{self.cause.source}, announcing",
            )
        return failures


def _without_patterns(names: Names, failures: Sequence[Failure]) -> Names:
    """Return the names that are invalidated now."""
    gone = Names(set(names.keys), set(), set(names.tags), set(names.versions))
    for failure in failures:
        getattr(gone, failure.kind).discard(failure.name)
    return gone


def _observe(redis: str, progress: Progress) -> None:
    seen, total = (0, 0) if progress.ended else (progress.seen, progress.total)
    metrics.SWEEPING_SEEN.labels(redis).set(seen)
    metrics.SWEEPING_KEYS.labels(redis).set(total)
    log.debug(
        "sweep" if progress.ended else "sweeping",
        patterns=progress.patterns,
        seen=progress.seen,
        total=progress.total,
        removed=progress.removed,
        protected=progress.protected,
        passes=progress.passes,
        seconds=round(progress.seconds, 2),
        **({"for_others": progress.for_others} if progress.for_others else {}),
        **({"again": progress.again} if progress.again else {}),
    )
    if progress.ended:
        metrics.SWEEPS.inc()
        metrics.SWEEP_SECONDS.observe(progress.seconds)
        metrics.EXISTED.inc(progress.removed)
