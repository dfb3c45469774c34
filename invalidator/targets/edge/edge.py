"""The caches at the edge of the rules in force: each forgets once Redis has forgotten."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Final

from invalidator.model import KINDS, Failure, Kind, Names
from invalidator.rules.rule import TARGETS, Cache
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.tasks import all_of
from invalidator.runtime.urls import parse_http_url, redact
from invalidator.settings import Settings
from invalidator.settings.caches import edge_secret, edge_servers
from invalidator.targets.edge.bucket import Bucket
from invalidator.targets.edge.client import Client
from invalidator.targets.edge.lane import Lane, Refused
from invalidator.targets.edge.service import Service, url_refusal
from invalidator.targets.pace import Pacer

PROBE_EVERY: Final = 10.0  # seconds


class Edge:
    """One cache at the edge, with all its servers."""

    def __init__(self, cache: Cache, service: Service, lanes: Sequence[Lane], pacer: Pacer) -> None:
        self.cache = cache.name
        self.lanes = lanes
        self._begins = TARGETS[cache.target].begins
        self._service = service
        self._pacer = pacer

    @property
    def busy(self) -> bool:
        return any(lane.busy for lane in self.lanes)

    @property
    def servers(self) -> list[str]:
        """Return their URLs, for people."""
        return [lane.server for lane in self.lanes]

    @property
    def parts(self) -> list[str]:
        """Return their parts of readiness."""
        return [lane.part.name for lane in self.lanes]

    def refusals(self, names: Names) -> list[Failure]:
        """Return the names that it could never take."""
        return [
            Failure(self.cache, kind, name, "edge", said)
            for kind in KINDS
            for name in getattr(names, kind)
            if (said := self._foreign(kind, name) or self._service.refusal(kind, name))
        ]

    async def forget(self, names: Names) -> list[Failure]:
        """Make all servers forget; return what one of them never will."""
        await self._pacer.take(names.count())
        refused: Refused = {}
        for found in await all_of(lane.forget(names) for lane in self.lanes):
            refused |= found
        self._pacer.deleted(names.count())
        for kind in KINDS:
            if count := len(getattr(names, kind)):
                metrics.NAMES.labels(self.cache, kind).inc(count)
        return [
            Failure(self.cache, kind, name, "edge", said)
            for (kind, name), said in refused.items()
            if name in getattr(names, kind)  # others were sent together with these
        ]

    def _foreign(self, kind: Kind, name: str) -> str:
        """Return why it is no URL where one is needed: a person may purge any name."""
        if kind in ("tags", "versions") or self._begins == ("",):
            return ""
        if not name.startswith(self._begins):
            return f"it must begin with {' or '.join(self._begins)}"
        return url_refusal(name) if kind == "keys" else ""

    async def close(self) -> None:
        await all_of(lane.close() for lane in self.lanes)


class Edges:
    """All of them. Those that rules no longer name end once nothing waits for them."""

    def __init__(
        self,
        settings: Settings,
        health: Health,
        pacer: Pacer,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._health = health
        self._pacer = pacer
        self._progress = progress
        self._known: dict[tuple[object, ...], Edge] = {}

    def of(self, cache: Cache) -> Edge:
        """Return the edge of a cache."""
        wanted = (cache.name, cache.target, cache.soft, cache.header, cache.bans)
        if wanted not in self._known:
            self._known[wanted] = self._build(cache)
        return self._known[wanted]

    def enforce(self, caches: Mapping[str, Cache]) -> None:
        """Keep those of the rules in force, and those that something waits for."""
        wanted = [self.of(cache) for cache in caches.values() if cache.at_edge]
        parts = {lane.part.name for edge in wanted for lane in edge.lanes}
        for key, edge in [*self._known.items()]:
            if edge not in wanted and not edge.busy:
                del self._known[key]
                for lane in edge.lanes:
                    lane.rest()
                    if lane.part.name not in parts:
                        self._health.parts.pop(lane.part.name, None)

    @property
    def lanes(self) -> Sequence[Lane]:
        """Return the servers of all."""
        return [lane for edge in self._known.values() for lane in edge.lanes]

    async def run(self) -> None:
        """Keep readiness true of servers that have nothing to do, until cancelled."""
        while True:
            await all_of(lane.probe() for lane in self.lanes)
            await asyncio.sleep(PROBE_EVERY)

    async def close(self) -> None:
        """Close all connections."""
        await all_of(edge.close() for edge in self._known.values())

    def _build(self, cache: Cache) -> Edge:
        servers = edge_servers(self._settings, cache.name)
        secret, url = edge_secret(self._settings, cache.name), parse_http_url(servers[0])
        module = import_module(f"invalidator.targets.edge.{cache.target}")
        service: Service = module.build(cache, secret, url)
        lanes = [self._lane(cache, server, service, alone=len(servers) == 1) for server in servers]
        return Edge(cache, service, lanes, self._pacer)

    def _lane(self, cache: Cache, server: str, service: Service, *, alone: bool) -> Lane:
        url, settings = parse_http_url(server), self._settings.edge
        part = f"cache {cache.name}" if alone else f"cache {cache.name} at {url.authority}"
        return Lane(
            cache.name,
            Client(url, redact(server), settings.timeout),
            service,
            self._health.part(part),
            Bucket(settings.rate or service.rate, settings.burst or service.burst),
            progress=self._progress,
        )
