"""Kafka as tests speak it: synchronous, and by another client than the daemon's."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.backends.waiting import until_sync

T = TypeVar("T")

TIMEOUT = 60.0
UNSETTLED = {
    *(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE),
    *(KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE),
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
QUIET = {"log_level": 0}  # brokers that tests kill are no news


def unique(stem: str) -> str:
    """Return a name that no other test has."""
    return f"{stem}-{uuid.uuid4().hex[:8]}"


class Kafka:
    """Topics, records and offsets of one broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        config: dict[str, str] | None = None,
        *,
        replicas: int = 1,
    ) -> str:
        """Create it and wait until every partition has a leader."""
        topic = NewTopic(name, partitions, replication_factor=replicas, config=config or {})
        self.admin.create_topics([topic])[name].result(TIMEOUT)
        until_sync(lambda: self._led(name) == partitions, TIMEOUT, f"{name} has leaders")
        return name

    def topic(self, stem: str = "events", partitions: int = 1) -> str:
        """Create a topic for one test, and return its name."""
        return self.create_topic(unique(stem), partitions)

    def add_partitions(self, name: str, total: int) -> None:
        self.admin.create_partitions([NewPartitions(name, total)])[name].result(TIMEOUT)
        until_sync(lambda: self._led(name) == total, TIMEOUT, f"{name} has {total} partitions")

    def topics(self) -> set[str]:
        return set(self.admin.list_topics(timeout=TIMEOUT).topics)

    def produce(
        self,
        topic: str,
        values: Iterable[str | bytes | None],
        *,
        partition: int = -1,
        key: str | bytes | None = None,
        headers: dict[str, str | bytes | None] | None = None,
        codec: str = "none",
        timestamp: int = 0,
    ) -> None:
        """Write records and wait until the broker has them all; None is a tombstone.

        The timestamp is in milliseconds, 0 is now.
        """
        producer = self.producer({"compression.type": codec, "linger.ms": 5})
        failed: list[object] = []

        def told(error: object, _: Message) -> None:
            if error is not None:
                failed.append(error)

        for value in values:
            while True:
                try:
                    producer.produce(topic, value, key, partition, told, None, timestamp, headers)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(TIMEOUT) == 0, "the broker did not take every record"
        assert not failed, failed[0]

    def producer(self, config: dict[str, object] | None = None) -> Producer:
        return Producer({"bootstrap.servers": self.bootstrap, **QUIET, **(config or {})})

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the committed offset per partition; partitions without one are absent."""
        with self.looking_at(group) as consumer:
            return self.positions(consumer, topic)

    def positions(self, consumer: Consumer, topic: str) -> dict[int, int]:
        """Return what the consumer's group has committed."""
        partitions = self.admin.list_topics(topic, timeout=TIMEOUT).topics[topic].partitions
        asked = [TopicPartition(topic, number) for number in partitions]
        found = _answer(lambda: consumer.committed(asked, TIMEOUT), f"positions in {topic}")
        return {part.partition: part.offset for part in found if part.offset >= 0}

    def ends(self, topic: str) -> dict[int, int]:
        """Return the offset after the last record, per partition."""
        partitions = self.admin.list_topics(topic, timeout=TIMEOUT).topics[topic].partitions
        with self._consumer() as consumer:
            return {number: _end(consumer, TopicPartition(topic, number)) for number in partitions}

    def lag(self, group: str, topic: str) -> int:
        """Return how many records the group has not committed."""
        committed = self.committed(group, topic)
        return sum(end - committed.get(part, 0) for part, end in self.ends(topic).items())

    def members(self, group: str) -> int:
        found = self.admin.describe_consumer_groups([group])[group].result(TIMEOUT)
        return len(found.members)

    def read(self, topic: str, count: int) -> list[Message]:
        """Return the first `count` records of a topic."""
        parts = [TopicPartition(topic, part, 0) for part in self.ends(topic)]
        with self._consumer() as consumer:
            consumer.assign(parts)
            found = consumer.consume(count, TIMEOUT)
        assert len(found) == count, f"{topic} holds {len(found)} records, not {count}"
        return found

    def _consumer(self) -> AbstractContextManager[Consumer]:
        return self.looking_at(unique("read"))

    @contextmanager
    def looking_at(self, group: str) -> Iterator[Consumer]:
        """Yield a consumer that joins no group and commits nothing.

        It asks for positions in place of the admin client, which crashes the process (in librdkafka
        2.16) when a broker answers that it is not the group's coordinator.
        """
        config = {"group.id": group, "enable.auto.commit": False, **QUIET}
        consumer = Consumer({"bootstrap.servers": self.bootstrap, **config})
        try:
            yield consumer
        finally:
            consumer.close()

    def _led(self, name: str) -> int:
        found = self.admin.list_topics(name, timeout=TIMEOUT).topics[name].partitions
        return sum(part.leader >= 0 for part in found.values())


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    found = _answer(
        lambda: consumer.get_watermark_offsets(partition, TIMEOUT), f"{partition} has a leader"
    )
    return found[1]


def _answer(question: Callable[[], T], what: str) -> T:
    """Ask until a leader and a coordinator are elected and know it."""

    def ask() -> tuple[T] | None:
        try:
            return (question(),)
        except KafkaException as error:
            if error.args[0].code() not in UNSETTLED:
                raise
            return None

    return until_sync(ask, TIMEOUT, what)[0]
