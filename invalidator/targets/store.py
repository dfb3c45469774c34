"""The store of all caches of the rules: it applies each name on the Redis where its cache lives.

All caches live on one Redis unless the settings say otherwise.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from invalidator.model import Application as Applicable
from invalidator.model import Cause, Names, Outcome
from invalidator.rules.rule import Cache
from invalidator.runtime.tasks import all_of
from invalidator.settings.caches import env_spelling
from invalidator.targets.redis.apply import CacheStore
from invalidator.targets.redis.count import Counted
from invalidator.targets.redis.host import Host
from invalidator.targets.target import Downstream

Caches = Mapping[str, Cache]


class Application:
    """Names of several caches. An attempt leaves out what the ones before it did: a server that
    answers must not pay for one that is unavailable."""

    def __init__(
        self,
        todo: Mapping[Host, list[tuple[CacheStore, Names]]],
        cause: Cause,
        downstream: list[Applicable],
    ) -> None:
        self._todo = todo
        self._cause = cause
        self._downstream = downstream
        self._outcome = Outcome()

    async def apply_names(self) -> Outcome:
        await all_of(map(self._apply_on, self._todo))
        while self._downstream:
            self._outcome.add(await self._downstream[0].apply_names())
            self._downstream.pop(0)
        return self._outcome

    async def _apply_on(self, host: Host) -> None:
        todo = self._todo[host]
        while todo:
            cache, names = todo[0]
            self._outcome.add(await host.apply(cache, names, self._cause))
            todo.pop(0)


class Store:
    """Applies names on the Redis servers of their caches."""

    def __init__(
        self,
        main: Host,
        others: Mapping[str, Host] | None = None,
        downstream: Sequence[Downstream] = (),
    ) -> None:
        """`others` are by the name of their cache, as the settings spell it."""
        self._downstream = downstream
        self._main = main
        self._others = dict(others or {})
        self.hosts: Sequence[Host] = list(dict.fromkeys([main, *self._others.values()]))
        self._enforced = False
        self._known: deque[tuple[Caches, dict[str, tuple[Host, CacheStore]]]] = deque(maxlen=4)

    def application(self, names: Mapping[str, Names], caches: Caches, cause: Cause) -> Application:
        """Return the application of all that is named. Nothing is applied yet."""
        configured = self._configured(caches)
        todo: dict[Host, list[tuple[CacheStore, Names]]] = {}
        for name, wanted in names.items():
            host, cache = configured[name]
            todo.setdefault(host, []).append((cache, wanted))
        asked = (target.application(names, caches, cause) for target in self._downstream)
        return Application(todo, cause, [*asked] if self._downstream else [])

    async def count(self, names: Mapping[str, Names], caches: Caches) -> list[Counted]:
        """Return how much exists of what is named. Reads only. Raises Unavailable."""
        homes = {name: self._configured(caches)[name][0] for name in names}
        return [
            found
            for name, wanted in names.items()
            for found in await homes[name].count(caches[name], wanted)
        ]

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
            for host in self.hosts:
                tasks.create_task(host.run())

    async def close(self) -> None:
        """Close all connections."""
        for host in self.hosts:
            await host.close()
        for target in self._downstream:
            await target.close()

    def enforce(self, caches: Caches) -> None:
        """Have sweeps spare what these caches protect, also for batches of earlier rules."""
        self._enforced = True
        for host, living in self._homes(caches).items():
            host.spare(living)

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
            homes[self._others.get(env_spelling(name), self._main)][name] = cache
        return homes
