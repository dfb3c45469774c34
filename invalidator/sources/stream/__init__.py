"""Events from Redis Streams."""

import socket

from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.sources.reread import Servers
from invalidator.sources.source import Source, Start


def build(settings: Settings, health: Health, servers: Servers) -> Source | None:
    """Return the source if there are streams to read; a dry run reads without a group."""
    streams = settings.streams
    if not streams.keys:
        return None
    from invalidator.sources.build import source_redis
    from invalidator.sources.stream.replay import DryStreamSource
    from invalidator.sources.stream.source import StreamSource

    redis, start = source_redis(settings), Start.of(streams.start)
    if settings.dry_run:
        return DryStreamSource(redis, streams.keys, start=start)
    return StreamSource(
        redis,
        streams.keys,
        group=streams.group,
        consumer=streams.consumer or socket.gethostname(),
        start=start,
        timeout=settings.redis_timeout,
        max_wait=settings.batch.max_wait,
        claim_after=streams.claim_after,
        trim=streams.trim,
        servers=servers,
    )
