"""The sources as the settings want them."""

import socket

from invalidator.redisclient import Client, client
from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.sources.pubsub.source import PubSubSource
from invalidator.sources.source import Source
from invalidator.sources.start import Start
from invalidator.sources.stream.dry import DryStreamSource
from invalidator.sources.stream.source import StreamSource
from invalidator.sources.trail import Eras


def sources_of(settings: Settings, health: Health, eras: Eras) -> list[Source]:
    """One for Kafka, for pub/sub and for streams, where there is something to read."""
    sources: list[Source] = []
    if settings.kafka.topics:
        sources.append(_kafka(settings, health))
    if settings.pubsub.channels or settings.pubsub.sharded_channels:
        sources.append(_pubsub(settings, health, eras))
    if settings.streams.keys:
        sources.append(_dry_streams(settings) if settings.dry_run else _streams(settings, eras))
    return sources


def _kafka(settings: Settings, health: Health) -> Source:
    # Here, since Kafka's client takes a while to load.
    from invalidator.sources.kafka.brokers import Brokers
    from invalidator.sources.kafka.client import Timing
    from invalidator.sources.kafka.source import KafkaSource

    kafka = settings.kafka
    return KafkaSource(
        Brokers.of(kafka),
        kafka.topics,
        kafka.group_id + ("-dry-run" if settings.dry_run else ""),
        start=Start.of(kafka.start),
        part=health.part(KafkaSource.name),
        max_wait=settings.batch.max_wait,
        commits=not settings.dry_run,
        timing=Timing(session=kafka.session_timeout),
        instance_id=kafka.instance_id,
    )


def _pubsub(settings: Settings, health: Health, eras: Eras) -> Source:
    return PubSubSource(
        _redis(settings),
        settings.pubsub.channels,
        sharded=settings.pubsub.sharded_channels,
        part=health.part(PubSubSource.name),
        buffer=settings.pubsub.buffer,
        max_bytes=settings.in_flight.bytes,
        max_wait=settings.batch.max_wait,
        eras=eras,
    )


def _streams(settings: Settings, eras: Eras) -> Source:
    return StreamSource(
        _redis(settings),
        settings.streams.keys,
        group=settings.streams.group,
        consumer=settings.streams.consumer or socket.gethostname(),
        start=Start.of(settings.streams.start),
        timeout=settings.redis_timeout,
        max_wait=settings.batch.max_wait,
        claim_after=settings.streams.claim_after,
        trim=settings.streams.trim,
        eras=eras,
    )


def _dry_streams(settings: Settings) -> Source:
    return DryStreamSource(
        _redis(settings),
        settings.streams.keys,
        start=Start.of(settings.streams.start),
        timeout=settings.redis_timeout,
    )


def _redis(settings: Settings) -> Client:
    url = settings.source_redis_url.get_secret_value()
    return client(url, settings.redis_timeout, settings.redis_tls.options())
