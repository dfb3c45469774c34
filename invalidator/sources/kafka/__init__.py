"""Events from Kafka."""

from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.sources.build import state_redis
from invalidator.sources.reread import Servers
from invalidator.sources.source import Source, Start


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
        servers=servers,
        stored=None if settings.dry_run else StoredOffsets(state_redis(settings), kafka.group_id),
    )
