"""A Kafka group that the brokers have forgotten while no daemon ran, on real servers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from invalidator.redisclient import client
from invalidator.runtime.health import Part
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.kafka.stored_offsets import StoredOffsets
from invalidator.sources.source import Start
from tests.backends import until
from tests.backends.kafka_client import Kafka, unique
from tests.conftest import StartRedis
from tests.contract.harness import raws, read
from tests.integration.piping import looking, run

if TYPE_CHECKING:
    import redis

Make = Callable[..., KafkaSource]
HOUR = 3_600_000  # milliseconds


@pytest.fixture
async def make(kafka_bootstrap: str, redis_url: str) -> AsyncIterator[Make]:
    """`make(topics, group, start)`: a member of a group, closed at the end."""
    async with AsyncExitStack() as stack:

        def new(
            topics: list[str], group: str, start: str | float = "latest", url: str = redis_url
        ) -> KafkaSource:
            source = KafkaSource(
                Brokers([kafka_bootstrap]),
                topics,
                group,
                start=Start.of(start),
                part=Part("kafka"),
                max_wait=0.0,
                timing=Timing(session=3.0, drain=5.0),
                stored=StoredOffsets(client(url, 5.0), group),
            )
            stack.push_async_callback(source.close)
            return source

        yield new


def texts(first: int, end: int) -> list[str]:
    return [str(number) for number in range(first, end)]


async def live(source: KafkaSource, kafka: Kafka, topic: str, count: int = 10) -> None:
    """Open a source, settle so many events, and close it."""
    await source.open()
    kafka.produce(topic, texts(0, count))
    for batch in await read(source, count):
        await source.settle(batch)
    await source.close()


def forget(kafka: Kafka, group: str) -> None:
    kafka.admin.delete_consumer_groups([group])[group].result(60)


async def gap_in(source: KafkaSource) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while not (batch := await source.read(1000)) or not batch.own:
            pass
    found: dict[str, Any] = orjson.loads(batch.own[0].values[0] or b"")["data"]
    return found


async def test_it_reads_on_from_what_was_settled(kafka: Kafka, make: Make) -> None:
    topic, group = kafka.topic(partitions=4), unique("group")
    await live(make([topic], group), kafka, topic)
    forget(kafka, group)
    kafka.produce(topic, texts(10, 310))
    first, second = make([topic], group), make([topic], group)
    await asyncio.gather(first.open(), second.open())
    found: set[bytes | None] = set()
    async with asyncio.timeout(60):
        while len(found) < 300:
            for source in (first, second):
                batch = await source.read(1000)
                found.update(raws([batch] if batch else []))
                if batch:
                    await source.settle(batch)
    assert found == {text.encode() for text in texts(10, 310)}
    await first.close()
    await second.close()
    assert sum(kafka.committed(group, topic).values()) == 310


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), (-3600.0, 5), ("latest", 10)])
async def test_a_start_before_that_still_holds(
    kafka: Kafka, make: Make, start: str | float, first: int
) -> None:
    topic, group = kafka.topic(), unique("group")
    now = int(time.time() * 1000)
    kafka.produce(topic, texts(0, 5), timestamp=now - 2 * HOUR)
    source = make([topic], group)
    await source.open()
    kafka.produce(topic, texts(5, 10))
    for batch in await read(source, 5):
        await source.settle(batch)
    await source.close()
    forget(kafka, group)
    kafka.produce(topic, texts(10, 12))
    source = make([topic], group, start)
    await source.open()
    assert raws(await read(source, 12 - first)) == [text.encode() for text in texts(first, 12)]


async def test_a_topic_that_it_never_read_begins_as_the_setting_says(
    kafka: Kafka, make: Make
) -> None:
    known, other, group = kafka.topic("known"), kafka.topic("other"), unique("group")
    await live(make([known], group), kafka, known)
    forget(kafka, group)
    kafka.add_partitions(known, 2)
    kafka.produce(known, ["added"], partition=1)
    kafka.produce(other, ["old"], timestamp=int(time.time() * 1000) - 2 * HOUR)
    kafka.produce(other, ["young"])
    source = make([known, other], group, -3600.0)
    await source.open()
    found = set(raws(await read(source, 12)))
    assert found == {text.encode() for text in texts(0, 10)} | {b"added", b"young"}


async def test_what_the_log_no_longer_has_is_a_gap(kafka: Kafka, make: Make) -> None:
    topic, group = kafka.topic(), unique("group")
    await live(make([topic], group), kafka, topic)
    forget(kafka, group)
    kafka.admin.delete_topics([topic])[topic].result(60)
    await until(lambda: topic not in kafka.topics())
    kafka.create_topic(topic)
    kafka.produce(topic, ["new"])
    source = make([topic], group)
    await source.open()
    assert (await gap_in(source))["cause"] == "position lost"
    assert raws(await read(source, 1)) == [b"new"]


async def test_without_permission_to_store_positions_it_continues(
    kafka: Kafka, make: Make, start_redis: StartRedis
) -> None:
    server, topic, group = start_redis(), kafka.topic(), unique("group")
    with looking(server.url) as now:
        run(now, "ACL", "SETUSER", "default", "-hgetall", "-hset")
    with capture_logs() as logs:
        await live(make([topic], group, url=server.url), kafka, topic)
    (said,) = [entry for entry in logs if entry["event"] == "kafka-offsets-not-stored"]
    assert "hgetall" in said["advice"]


async def test_a_source_that_is_opened_again_stores_on(
    kafka: Kafka, make: Make, redis_now: "redis.Redis"
) -> None:
    topic, group = kafka.topic(), unique("group")
    source = make([topic], group)
    await live(source, kafka, topic)
    await live(source, kafka, topic)
    assert redis_now.hgetall(f"invalidator:offsets:{group}") == {f"{topic}@0".encode(): b"20"}
    assert kafka.committed(group, topic) == {TopicPartition(topic, 0).partition: 20}
