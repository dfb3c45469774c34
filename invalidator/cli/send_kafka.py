"""Writes one event to a Kafka topic, and says where it lies."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec import Struct

from invalidator.cli.common import UsageError
from invalidator.cli.send import Event
from invalidator.errors import Unavailable
from invalidator.sources.describe import describe
from invalidator.sources.kafka.brokers import CLIENT, Brokers
from invalidator.sources.kafka.diagnose import why

if TYPE_CHECKING:
    from invalidator.settings.model import Kafka

WITHIN = 20.0  # seconds, for all of it
ANSWER_WITHIN = 6.0  # for one of the brokers' answers


class Record(Struct, frozen=True):
    topic: str
    event: Event
    key: str | None
    partition: int | None  # None: the key decides, as in Kafka's own clients


async def to_topic(kafka: "Kafka", record: Record) -> None:
    """Raises Unavailable, UsageError."""
    brokers = Brokers.of(kafka)
    with _library_silent():
        try:
            async with asyncio.timeout(WITHIN):
                where = await _written(brokers, record)
        except (KafkaError, OSError) as error:  # TimeoutError is one
            reason = await why(brokers) or describe(error)
            raise Unavailable("kafka", f"{brokers.address}: {reason}") from error
    body, _ = record.event
    print(f"published {body['type']} to topic {record.topic} of {brokers.address}")
    print(f"  id {body['id']}, partition {where.partition}, offset {where.offset}")


@contextmanager
def _library_silent() -> Iterator[None]:
    """What it logs of a broker that is away, our own line says better."""
    library = logging.getLogger("aiokafka")
    before = library.level
    library.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        library.setLevel(before)


async def _written(brokers: Brokers, record: Record) -> Any:
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers.address,
        client_id=CLIENT,
        acks="all",
        request_timeout_ms=int(ANSWER_WITHIN * 1000),
        **brokers.options(),
    )
    try:
        await producer.start()
        await _look(producer, brokers, record)
        body, headers = record.event
        return await producer.send_and_wait(
            record.topic,
            orjson.dumps(body),
            key=None if record.key is None else record.key.encode(),
            partition=record.partition,
            headers=[(name, value.encode()) for name, value in headers],
        )
    finally:
        await producer.stop()


async def _look(producer: AIOKafkaProducer, brokers: Brokers, record: Record) -> None:
    """Asking for all topics creates none; writing to one that is absent might."""
    cluster = await producer.client.fetch_all_metadata()
    partitions = cluster.partitions_for_topic(record.topic)
    if not partitions:
        known = sorted(name for name in cluster.topics() if not name.startswith("__"))
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise UsageError(
            f"kafka: {brokers.address} has no topic {record.topic} that we may see; "
            f"it has {shown or 'none'}. Topics are not created here."
        )
    if record.partition is not None and record.partition not in partitions:
        raise UsageError(
            f"--partition {record.partition}: topic {record.topic} has {len(partitions)}, "
            f"from 0 to {max(partitions)}"
        )
