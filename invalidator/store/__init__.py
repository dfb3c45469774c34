"""The caches: what a plan names is forgotten when `apply` and the tickets it gives are over."""

from collections.abc import Mapping, Sequence

import structlog

from invalidator import metrics
from invalidator.connect import Client
from invalidator.errors import Unavailable
from invalidator.health import Part
from invalidator.model import Names, Outcome
from invalidator.rules.schema import Cache
from invalidator.store.cache import CacheStore, layouts
from invalidator.store.commands import Keys
from invalidator.store.protect import protected
from invalidator.store.server import Server
from invalidator.store.sweeper import Node, Sweeper
from invalidator.store.tickets import Progress

log = structlog.get_logger("invalidator")

MOST_PATTERNS = 50_000  # distinct ones that may wait for a sweep before intake waits, too


class Store:
    """All caches of the rules, on one Redis."""

    def __init__(self, client: Client, name: str, part: Part) -> None:
        self._server = Server(client, name)
        self._keys = Keys(client, name)
        self._sweeper = Sweeper(self._nodes, protected((), ()), part, observe=_observe)
        part.ready()  # until a sweep finds otherwise
        self._rules: Mapping[str, Cache] | None = None  # what `_caches` was built from
        self._caches: dict[str, CacheStore] = {}

    async def apply(self, names: Mapping[str, Names], caches: Mapping[str, Cache]) -> Outcome:
        """Everything that is named. Raises Unavailable; then all of it may be applied again."""
        self._unless_crowded(names)
        stores = self._configured(caches)
        outcome = Outcome()
        for cache, wanted in names.items():
            await stores[cache].apply(wanted, outcome)
        metrics.EXISTED.inc(outcome.existed)
        return outcome

    async def probe(self) -> None:
        """Raise Unavailable unless the server lets us delete."""
        await self._keys.probe()

    async def recover(self, caches: Mapping[str, Cache]) -> None:
        """Finish tags that a crash left half consumed. Raises Unavailable."""
        stores = list(self._configured(caches).values())
        for cache in stores[:1]:  # one registry serves all of a Redis
            consumed = await cache.tags.recover()
            if consumed.existed:
                log.info("tags-recovered", existed=consumed.existed)

    async def sweep(self) -> None:
        """Serve patterns until cancelled."""
        await self._sweeper.run()

    def _unless_crowded(self, names: Mapping[str, Names]) -> None:
        """The next sweep to begin takes all that wait."""
        if self._sweeper.waiting >= MOST_PATTERNS and any(n.patterns for n in names.values()):
            raise Unavailable(self._server.name, "too many patterns wait for a sweep to begin")

    def _configured(self, caches: Mapping[str, Cache]) -> dict[str, CacheStore]:
        """The stores for these rules; other pipelines may still apply batches of the last ones."""
        if caches is not self._rules:
            self._rules = caches
            self._sweeper.protect(
                protected(
                    [template for cache in caches.values() for template in _templates(cache)],
                    [glob for cache in caches.values() for glob in cache.protect],
                )
            )
            self._caches = {
                name: CacheStore(cache, self._server, self._keys, self._sweeper)
                for name, cache in caches.items()
            }
        return self._caches

    async def _nodes(self) -> Sequence[Node]:
        return [Node(self._server, self._keys.unlink)]


def _templates(cache: Cache) -> list[str]:
    """What a sweep must spare: without its set, a tag's members could never be found."""
    return [layout.key for layout in layouts(cache)] + [cache.version]


def _observe(progress: Progress) -> None:
    log.info(
        "sweep" if progress.ended else "sweeping",
        patterns=progress.patterns,
        seen=progress.seen,
        total=progress.total,
        removed=progress.removed,
        protected=progress.protected,
        passes=progress.passes,
        seconds=round(progress.seconds, 2),
        **({"again": progress.again} if progress.again else {}),
    )
    if progress.ended:
        metrics.SWEEPS.inc()
        metrics.SWEEP_SECONDS.observe(progress.seconds)
        metrics.EXISTED.inc(progress.removed)
