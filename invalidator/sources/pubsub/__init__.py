"""Events from Redis pub/sub."""

from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.sources.reread import Servers
from invalidator.sources.source import Source


def build(settings: Settings, health: Health, servers: Servers) -> Source | None:
    """Return the source if there are channels to listen on."""
    if not (settings.pubsub.channels or settings.pubsub.sharded_channels):
        return None
    from invalidator.sources.build import source_redis
    from invalidator.sources.pubsub.source import PubSubSource

    return PubSubSource(
        source_redis(settings),
        settings.pubsub.channels,
        sharded=settings.pubsub.sharded_channels,
        part=health.part(PubSubSource.name),
        buffer=settings.pubsub.buffer,
        max_bytes=settings.in_flight.bytes,
        max_wait=settings.batch.max_wait,
        servers=servers,
    )
