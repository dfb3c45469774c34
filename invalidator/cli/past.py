"""Read past events of Kafka and of streams, and hand them on one by one. Nothing is written."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from invalidator.cli.common import UsageError
from invalidator.errors import Unavailable
from invalidator.model import Fault, Record
from invalidator.runtime.health import Part
from invalidator.runtime.retry import until_available
from invalidator.sources.replay import Ids, Newest, NotThere, Offsets, Times

if TYPE_CHECKING:
    from invalidator.settings import Settings
    from invalidator.sources.kafka.replay import KafkaReplay
    from invalidator.sources.stream.replay import StreamReplay

    Replay: TypeAlias = KafkaReplay | StreamReplay

AT_ONCE = 1000  # events in a batch


def kafka(
    settings: "Settings", topics: Sequence[str], wanted: "Times | Offsets | Newest"
) -> "KafkaReplay":
    from invalidator.runtime.health import Health
    from invalidator.sources.kafka import decoder_of
    from invalidator.sources.kafka.brokers import Brokers
    from invalidator.sources.kafka.replay import KafkaReplay

    if not settings.kafka.bootstrap_servers:
        raise UsageError("INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS is not set")
    brokers = Brokers.of(settings.kafka)
    return KafkaReplay(brokers, topics, wanted, decoder_of(settings, Health(), brokers))


def stream(settings: "Settings", keys: Sequence[str], wanted: "Ids | Newest") -> "StreamReplay":
    from invalidator.redisclient import client
    from invalidator.sources.stream.replay import StreamReplay

    url = settings.source_redis_url.get_secret_value()
    redis = client(url, settings.redis_timeout, settings.redis_tls.options())
    return StreamReplay(redis, keys, wanted)


async def events(source: "Replay") -> "AsyncIterator[tuple[Record, Fault | None]]":
    """Yield each record, with the reason if it cannot be read. Unavailable servers are waited for.

    Raises UsageError if the events do not exist, or no longer.
    """
    part = Part(source.name)
    try:
        await until_available(source.open, part)
        while not source.done:
            try:
                batch = await source.read(AT_ONCE)
            except Unavailable:
                await until_available(source.open, part)
                continue
            for piece in batch.slices if batch else ():
                for index in range(len(piece.values)):
                    yield piece.record(index), piece.refused
    except NotThere as error:
        raise UsageError(str(error)) from error
    finally:
        await source.close()
