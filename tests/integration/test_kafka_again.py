"""Kafka records that are read again: what the contract of all sources does not say."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from confluent_kafka import TopicPartition
from structlog.testing import capture_logs

from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.source import Start
from tests.backends.kafka_client import Kafka, unique
from tests.contract.harness import raws, read

WINDOW = 300.0
MINUTE = 60_000  # milliseconds

Make = Callable[..., KafkaSource]


class Servers:
    """Cache servers of a test."""

    reason = "a test says so"
    window = WINDOW

    def __init__(self, identity: str = "one") -> None:
        self.identity = identity


@pytest.fixture
async def make(kafka_bootstrap: str) -> AsyncIterator[Make]:
    """`make(topics, group, servers)`: a member of a group, closed at the end."""
    async with AsyncExitStack() as stack:

        def new(
            topics: list[str],
            group: str,
            servers: Servers | None = None,
            clock: Callable[[], float] = time.time,
        ) -> KafkaSource:
            source = KafkaSource(
                Brokers([kafka_bootstrap]),
                topics,
                group,
                start=Start("earliest"),
                part=Part("kafka"),
                max_wait=0.0,
                timing=Timing(session=3.0, drain=5.0),
                servers=servers or Servers(),
                clock=clock,
            )
            stack.push_async_callback(source.close)
            return source

        yield new


def publish_at(kafka: Kafka, topic: str, minutes_ago: dict[str, float]) -> None:
    now = int(time.time() * 1000)
    for value, minutes in minutes_ago.items():
        kafka.produce(topic, [value], timestamp=now - int(minutes * MINUTE))


async def take(source: KafkaSource, count: int) -> list[bytes | None]:
    """Read so many, and settle them."""
    batches = await read(source, count, limit=1)
    for batch in batches:
        await source.settle(batch)
    return raws(batches)


# --- paused topics --------------------------------------------------------------------------


async def test_a_topic_that_is_paused_stays_so_when_the_source_is_opened_again(
    kafka: Kafka, make: Make
) -> None:
    paused, other = kafka.topic(), kafka.topic()
    source = make([paused, other], unique("group"))
    source.pause(frozenset({paused}))
    await source.open()
    kafka.produce(paused, ["waits"])
    kafka.produce(other, ["flows"])
    assert await take(source, 1) == [b"flows"]
    await source.keep_alive()
    assert await source.read(10) is None
    source.pause(frozenset())
    assert await take(source, 1) == [b"waits"]


async def test_a_topic_that_is_paused_for_a_moment_gives_its_records_once_and_in_order(
    kafka: Kafka, make: Make
) -> None:
    topic, group = kafka.topic(), unique("group")
    source = make([topic], group)
    await source.open()
    kafka.produce(topic, ["0", "1", "2", "3"])
    batches = await read(source, 2, limit=2)
    source.pause(frozenset({topic}))
    source.pause(frozenset())
    for batch in batches:
        await source.settle(batch)
    assert kafka.committed(group, topic) == {0: 0}
    assert await take(source, 4) == [b"0", b"1", b"2", b"3"]


# --- after the identity of the cache servers changed ------------------------------------------


async def test_what_a_cache_may_have_lost_is_read_again_by_its_time(
    kafka: Kafka, make: Make
) -> None:
    topic, group, servers = kafka.topic(), unique("group"), Servers()
    later = 0.0
    source = make([topic], group, servers, clock=lambda: time.time() + later)
    await source.open()
    publish_at(kafka, topic, {"hours old": 300, "old": 60, "recent": 1})
    await take(source, 2)
    later = WINDOW + 60  # what was settled before is safe by now
    assert await take(source, 1) == [b"recent"]
    servers.identity = "two"
    rewinds = metrics.REWINDS.labels("kafka")._value.get()
    with capture_logs() as logs:
        publish_at(kafka, topic, {"new": 0})
        assert await take(source, 2) == [b"recent", b"new"]
    (log,) = [log for log in logs if log["event"] == "failover-reread"]
    assert log["again"] == {f"{topic}-0": "2 to 3"}
    assert log["why"] == "a test says so"
    assert metrics.REWINDS.labels("kafka")._value.get() == rewinds + 1
    assert await source.read(10) is None


async def test_records_that_are_no_longer_kept_to_be_read_again_are_a_gap(
    kafka: Kafka, make: Make
) -> None:
    topic, group, servers = kafka.topic(), unique("group"), Servers()
    source = make([topic], group, servers)
    await source.open()
    kafka.produce(topic, ["0", "1", "2"])
    await take(source, 3)
    await source.close()
    deleted = TopicPartition(topic, 0, 2)
    kafka.admin.delete_records([deleted])[deleted].result(60)
    servers.identity = "two"
    source = make([topic], group, servers)
    await source.open()
    with capture_logs() as logs:
        assert await take(source, 1) == [b"2"]
    (gap,) = [log for log in logs if log["event"] in ("gap", "source-gap")]
    assert gap["cause"] == "cache-went-back"
