"""Builds the targets from the settings."""

from collections.abc import Callable

from invalidator.redisclient import client
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.urls import redact
from invalidator.settings import Settings
from invalidator.settings.caches import cache_urls
from invalidator.targets.edge.edge import Edges
from invalidator.targets.pace import Pacer
from invalidator.targets.redis.host import Host
from invalidator.targets.redis.walk import Progress
from invalidator.targets.store import Store

MAIN = "redis"  # the part of readiness for INVALIDATOR_REDIS_URL


def store_of(
    settings: Settings, health: Health, *, observe: Callable[[Progress], None] | None = None
) -> Store:
    """Build a store with one host for each Redis, however many caches are on it, and the edges."""
    pacer = Pacer(settings.max_deletes_per_second, settings.alarm_deletes, progress=health.progress)
    if settings.max_deletes_per_second or settings.alarm_deletes:
        metrics.LAST_MINUTE.set_function(pacer.last_minute)

    def host(url: str, part: str, sweeps: str) -> Host:
        return Host(
            client(url, settings.redis_timeout, settings.redis_tls.options()),
            redact(url),
            health.part(part),
            health.part(sweeps),
            announce="never" if settings.dry_run else settings.announce,
            pacer=pacer,
            observe=observe,
            progress=health.progress,
        )

    main = settings.redis_url.get_secret_value()
    hosts = {main: host(main, MAIN, "sweeps")}
    urls = cache_urls(settings)
    for url in dict.fromkeys(urls.values()):
        called = ", ".join(sorted(name for name in urls if urls[name] == url))
        if url not in hosts:
            hosts[url] = host(url, f"cache {called}", f"sweeps of {called}")
    others = {name: hosts[url] for name, url in urls.items()}
    return Store(hosts[main], others, Edges(settings, health, pacer, health.progress))


def gate(store: Store) -> str:
    """Return the part of readiness that shows whether batches can be applied."""
    return MAIN if len(store.hosts) == 1 else "caches"
