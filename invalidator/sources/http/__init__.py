"""Events that services and webhooks send by HTTP."""

from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.sources.reread import Servers
from invalidator.sources.source import Source


def build(settings: Settings, health: Health, servers: Servers) -> Source | None:
    """Return the source if there are routes to listen on."""
    if not settings.http.routes:
        return None
    from invalidator.sources.http.senders import sender
    from invalidator.sources.http.source import HttpSource

    return HttpSource(
        (settings.http.host, settings.http.port),
        {name: sender(route) for name, route in settings.http.routes.items()},
        part=health.part(HttpSource.name),
        wait=settings.http.wait,
        buffer=settings.http.buffer,
        max_bytes=settings.in_flight.bytes,
        max_request=settings.http.max_bytes,
        servers=servers,
        dry_run=settings.dry_run,
    )
