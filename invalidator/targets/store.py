"""The store of all caches of the rules: it applies each name on the Redis where its cache lives.

All caches live on one Redis unless the settings say otherwise.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from msgspec import Struct

from invalidator.model import Cause, Failure, Names, Outcome, Ticket
from invalidator.rules.rule import Cache
from invalidator.runtime.tasks import all_of
from invalidator.settings.caches import env_spelling
from invalidator.targets.edge.edge import Edge, Edges
from invalidator.targets.edge.lane import Lane
from invalidator.targets.edge.service import each
from invalidator.targets.redis.apply import CacheStore
from invalidator.targets.redis.count import Counted
from invalidator.targets.redis.host import Host

UNSEEN = "at the edge, which does not say"

Caches = Mapping[str, Cache]


class Application:
    """Names of several caches. An attempt leaves out what the ones before it did: a server that
    answers must not pay for one that is unavailable."""

    def __init__(
        self,
        todo: Mapping[Host, list[tuple[CacheStore, Names]]],
        cause: Cause,
        outcome: Outcome,
        later: Ticket | None,
    ) -> None:
        """`later` is what Redis must have forgotten before, its sweeps included."""
        self._todo = todo
        self._cause = cause
        self._outcome = outcome
        self._later = later

    async def apply_names(self) -> Outcome:
        await all_of(map(self._apply_on, self._todo))
        if self._later:
            self._outcome.sweeps.append(self._later)
            self._later = None
        return self._outcome

    async def _apply_on(self, host: Host) -> None:
        todo = self._todo[host]
        while todo:
            cache, names = todo[0]
            self._outcome.add(await host.apply(cache, names, self._cause))
            todo.pop(0)


class EdgeTicket(Struct, frozen=True):
    """Names for the edge. A page that was rendered before Redis forgot would be cached again, so
    their turn comes after it; nothing else waits for them but the acknowledgement."""

    parts: Sequence[tuple[Edge, Names]]
    announce: Callable[[str, Names], Awaitable[None]]

    async def wait(self) -> Sequence[Failure]:
        found = await all_of(self._forget(edge, names) for edge, names in self.parts)
        return [failure for failures in found for failure in failures]

    async def _forget(self, edge: Edge, names: Names) -> Sequence[Failure]:
        failures = await edge.forget(names)
        await self.announce(edge.cache, names.without(failures))
        return failures


class Store:
    """Applies names on the Redis servers of their caches, and then at the edge."""

    def __init__(
        self, main: Host, others: Mapping[str, Host] | None = None, edges: Edges | None = None
    ) -> None:
        """`others` are by the name of their cache, as the settings spell it."""
        self._edges = edges
        self._main = main
        self._others = dict(others or {})
        self.hosts: Sequence[Host] = list(dict.fromkeys([main, *self._others.values()]))
        self._enforced = False
        self._known: deque[tuple[Caches, dict[str, tuple[Host, CacheStore]]]] = deque(maxlen=4)

    def application(self, names: Mapping[str, Names], caches: Caches, cause: Cause) -> Application:
        """Return the application of all that is named. Nothing is applied yet."""
        configured = self._configured(caches)
        todo: dict[Host, list[tuple[CacheStore, Names]]] = {}
        outcome, parts = Outcome(), []
        for name, wanted in names.items():
            if edge := self.edge(caches[name]):
                refusals = edge.refusals(wanted)
                outcome.failures += refusals
                parts.append((edge, wanted.without(refusals)))
            else:
                host, cache = configured[name]
                todo.setdefault(host, []).append((cache, wanted))
        later = EdgeTicket(parts, partial(self._main.announce, cause)) if parts else None
        return Application(todo, cause, outcome, later)

    async def count(self, names: Mapping[str, Names], caches: Caches) -> list[Counted]:
        """Return how much exists of what is named. Reads only. Raises Unavailable."""
        found: list[Counted] = []
        for name, wanted in names.items():
            if caches[name].at_edge:
                found += [Counted(kind, one, 0, UNSEEN) for kind, one in each(wanted)]
            else:
                found += await self.home(name, caches).count(caches[name], wanted)
        return found

    def home(self, cache: str, caches: Caches) -> Host:
        """Return where a cache lives."""
        return self._configured(caches)[cache][0]

    async def probe(self) -> None:
        """Raise Unavailable unless every server lets us delete."""
        await all_of(host.probe() for host in self.hosts)

    async def ping(self) -> None:
        """Raise Unavailable unless every server answers."""
        await all_of(host.ping() for host in self.hosts)

    async def recover(self, caches: Caches) -> None:
        """Finish tags that a crash left half consumed. Raises Unavailable."""
        one_of_each = dict(self._configured(caches).values())
        await all_of(host.recover(cache) for host, cache in one_of_each.items())

    async def run(self) -> None:
        """Serve patterns and announce deletions, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._edges:
                tasks.create_task(self._edges.run())
            for host in self.hosts:
                tasks.create_task(host.run())

    async def close(self) -> None:
        """Close all connections."""
        for host in self.hosts:
            await host.close()
        if self._edges:
            await self._edges.close()

    def enforce(self, caches: Caches) -> None:
        """Have sweeps spare what these caches protect, also for batches of earlier rules."""
        self._enforced = True
        if self._edges:
            self._edges.enforce(caches)
        for host, living in self._homes(caches).items():
            host.spare(living)

    def edge(self, cache: Cache) -> Edge | None:
        """Return the edge of a cache; None for one on Redis."""
        return self._edges.of(cache) if self._edges and cache.at_edge else None

    @property
    def edge_servers(self) -> Sequence[Lane]:
        """Return all servers at the edge."""
        return self._edges.lanes if self._edges else ()

    def _configured(self, caches: Caches) -> dict[str, tuple[Host, CacheStore]]:
        """Return the stores for these rules; batches of earlier ones may still be applied."""
        for known, stores in self._known:
            if known is caches:
                return stores
        if not self._enforced:
            self.enforce(caches)
        stores = {
            name: (host, store)
            for host, living in self._homes(caches).items()
            for name, store in host.stores(living).items()
        }
        self._known.append((caches, stores))
        return stores

    def _homes(self, caches: Caches) -> dict[Host, dict[str, Cache]]:
        """Return all hosts, with the caches that live there."""
        homes: dict[Host, dict[str, Cache]] = {host: {} for host in self.hosts}
        for name, cache in caches.items():
            if cache.at_edge:
                continue
            homes[self._others.get(env_spelling(name), self._main)][name] = cache
        return homes
