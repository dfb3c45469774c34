"""Events from Kafka."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from invalidator.errors import ConfigError
from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.sources.build import state_redis
from invalidator.sources.reread import Servers
from invalidator.sources.source import Source, Start

if TYPE_CHECKING:
    from invalidator.sources.kafka.avro import AvroDecoder
    from invalidator.sources.kafka.brokers import Brokers


def build(settings: Settings, health: Health, servers: Servers) -> Source | None:
    """Return the source if there are topics to read."""
    if not settings.kafka.topics:
        return None
    # Imported here, because Kafka's client takes a while to load.
    from invalidator.sources.kafka.brokers import Brokers
    from invalidator.sources.kafka.client import Timing
    from invalidator.sources.kafka.source import KafkaSource
    from invalidator.sources.kafka.stored_offsets import StoredOffsets

    kafka = settings.kafka
    brokers = Brokers.of(kafka)
    return KafkaSource(
        brokers,
        kafka.topics,
        kafka.group_id + ("-dry-run" if settings.dry_run else ""),
        start=Start.of(kafka.start),
        part=health.part(KafkaSource.name),
        max_wait=settings.batch.max_wait,
        commits=not settings.dry_run,
        timing=Timing(session=kafka.session_timeout),
        instance_id=kafka.instance_id,
        servers=servers,
        decoder=decoder_of(settings, health, brokers),
        stored=None if settings.dry_run else StoredOffsets(state_redis(settings), kafka.group_id),
    )


def decoder_of(settings: Settings, health: Health, brokers: "Brokers") -> "AvroDecoder | None":
    """Return what turns Avro into JSON, if there is a schema registry."""
    registry = settings.kafka.registry
    if not registry.url.get_secret_value():
        return None
    if find_spec("fastavro") is None:
        raise ConfigError(
            "INVALIDATOR_KAFKA__REGISTRY__URL requires fastavro: pip install 'invalidator[avro]'"
        )
    from invalidator.sources.kafka.avro import AvroDecoder
    from invalidator.sources.kafka.registry import NAME, Registry

    return AvroDecoder(
        Registry(registry, brokers.trusted),
        health.part(NAME),
        apicurio=registry.format == "apicurio",
        limit=settings.batch.max_event_bytes,
    )
