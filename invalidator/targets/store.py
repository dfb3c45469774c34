"""The caches: what a plan names is forgotten once it is applied and its tickets are over.

Each cache lives on one Redis, and all of them on the same unless the settings say otherwise.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct, field

from invalidator.errors import Unavailable
from invalidator.model import Cause, Names, Outcome
from invalidator.rules.rule import Cache
from invalidator.settings.caches import env_spelling
from invalidator.targets.redis.apply import CacheStore
from invalidator.targets.redis.count import Counted
from invalidator.targets.redis.host import Host

Caches = Mapping[str, Cache]


class Share(Struct):
    """What of a batch is to be done on one Redis, and what it came to so far."""

    host: Host
    todo: list[tuple[CacheStore, Names]] = field(default_factory=list)

    async def work(self, cause: Cause, outcome: Outcome) -> None:
        """Raises Unavailable; then it goes on from there."""
        while self.todo:
            cache, names = self.todo[0]
            outcome.add(await self.host.apply(cache, names, cause))
            self.todo.pop(0)


class Store:
    """All caches of the rules; `others` by the name of their cache, as the settings spell it."""

    def __init__(self, main: Host, others: Mapping[str, Host] | None = None) -> None:
        self._main = main
        self._others = dict(others or {})
        self.hosts: Sequence[Host] = list(dict.fromkeys([main, *self._others.values()]))
        self._enforced = False
        self._known: deque[tuple[Caches, dict[str, tuple[Host, CacheStore]]]] = deque(maxlen=4)

    def applying(
        self, names: Mapping[str, Names], caches: Caches, cause: Cause
    ) -> Callable[[], Awaitable[Outcome]]:
        """An attempt at everything that is named. It raises Unavailable; the next one then leaves
        out what was done: a server that answers must not pay for one that is away."""
        configured = self._configured(caches)
        shares: dict[Host, Share] = {}
        for name, wanted in names.items():
            host, cache = configured[name]
            shares.setdefault(host, Share(host)).todo.append((cache, wanted))
        outcome = Outcome()

        async def attempt() -> Outcome:
            await _side_by_side([share.work(cause, outcome) for share in shares.values()])
            return outcome

        return attempt

    async def count(self, names: Mapping[str, Names], caches: Caches) -> list[Counted]:
        """How much there is of what is named. Reads only. Raises Unavailable."""
        homes = {name: self._configured(caches)[name][0] for name in names}
        return [
            found
            for name, wanted in names.items()
            for found in await homes[name].count(caches[name], wanted)
        ]

    def home(self, cache: str, caches: Caches) -> Host:
        """Where a cache lives."""
        return self._configured(caches)[cache][0]

    async def probe(self) -> None:
        """Raise Unavailable unless every server lets us delete."""
        await _side_by_side([host.probe() for host in self.hosts])

    async def ping(self) -> None:
        """Raise Unavailable unless every server answers."""
        await _side_by_side([host.ping() for host in self.hosts])

    async def recover(self, caches: Caches) -> None:
        """Finish tags that a crash left half consumed. Raises Unavailable."""
        one_of_each = dict(self._configured(caches).values())
        await _side_by_side([host.recover(cache) for host, cache in one_of_each.items()])

    async def run(self) -> None:
        """Serve patterns and announce ourselves, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for host in self.hosts:
                tasks.create_task(host.run())

    async def close(self) -> None:
        for host in self.hosts:
            await host.close()

    def enforce(self, caches: Caches) -> None:
        """Sweeps spare from now on what these say, also for batches of the rules before."""
        self._enforced = True
        for host, living in self._homes(caches).items():
            host.spare(living)

    def _configured(self, caches: Caches) -> dict[str, tuple[Host, CacheStore]]:
        """The stores for these rules; batches of the last ones may still be applied."""
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
        """All hosts, with the caches that live there."""
        homes: dict[Host, dict[str, Cache]] = {host: {} for host in self.hosts}
        for name, cache in caches.items():
            homes[self._others.get(env_spelling(name), self._main)][name] = cache
        return homes


async def _side_by_side(works: Sequence[Awaitable[None]]) -> None:
    """All of them to their end; then the first failure is raised."""
    if len(works) == 1:
        return await works[0]
    failures = [
        result
        for result in await asyncio.gather(*works, return_exceptions=True)
        if isinstance(result, BaseException)
    ]
    for failure in sorted(failures, key=lambda found: isinstance(found, Unavailable)):
        raise failure
    return None
