"""Ways of events to the daemon, and how many events it has not acknowledged."""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import redis
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.faults.caches import at

PATIENCE = 90.0  # seconds that a server may be down while events are sent to it


class Inlet(Protocol):
    """A topic, a stream or a channel."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Return the daemon's settings for it."""

    def send(self, events: Sequence[bytes]) -> int:
        """Start to send them; return how often an event was sent, repetitions included."""

    def flush(self) -> None:
        """Wait until the server has them all."""

    def lag(self) -> int:
        """Return how many events are unacknowledged; more than none while that is unknown."""


class Topic:
    """A Kafka topic, read by a group of its own. `bootstrap` may lead through a proxy."""

    def __init__(
        self,
        kafka: Kafka,
        stack: ExitStack,
        partitions: int = 4,
        *,
        bootstrap: str = "",
        replicas: int = 1,
    ) -> None:
        self.kafka = kafka
        self.name = unique("faults")
        self.group = unique("group")
        kafka.create_topic(self.name, partitions, replicas=replicas)
        self._consumer = stack.enter_context(kafka.looking_at(self.group))
        self.ends: dict[int, int] = {}  # what the broker has, by partition
        self._producers: list[Producer] = []  # the last one sends; all are told what arrived
        self.connect()
        self.settings = {
            "KAFKA__BOOTSTRAP_SERVERS": bootstrap or kafka.bootstrap,
            "KAFKA__TOPICS": self.name,
            "KAFKA__GROUP_ID": self.group,
            "KAFKA__START": "earliest",
            "KAFKA__SESSION_TIMEOUT": "3s",  # a killed member is missed soon
        }

    def connect(self) -> None:
        """Connect again, so that added partitions are known."""
        producer = self.kafka.producer(
            {
                "acks": "all",
                "message.timeout.ms": int(PATIENCE * 1000),
                "reconnect.backoff.max.ms": 500,
                "linger.ms": 5,
            }
        )
        self._producers.append(producer)

    def send(self, events: Sequence[bytes]) -> int:
        producer = self._producers[-1]
        for event in events:
            producer.produce(self.name, event, on_delivery=self._delivered)
            producer.poll(0)
        return len(events)

    def flush(self) -> None:
        for producer in self._producers:
            assert producer.flush(PATIENCE) == 0, f"{self.name}: the broker did not take all"

    def lag(self) -> int:
        try:
            committed = self.kafka.positions(self._consumer, self.name)
        except KafkaException:
            return 1
        return sum(end - committed.get(part, 0) for part, end in self.ends.items())

    def lag_of(self, partition: int) -> int:
        committed = self.kafka.positions(self._consumer, self.name)
        return self.ends.get(partition, 0) - committed.get(partition, 0)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        partition, end = message.partition() or 0, (message.offset() or 0) + 1
        self.ends[partition] = max(end, self.ends.get(partition, 0))


class Stream:
    """A Redis Stream, read by the default group."""

    def __init__(self, port: Callable[[], int], url: str) -> None:
        self.key = unique("stream")
        self._port = port
        self.settings = {
            "SOURCE_REDIS_URL": url,
            "STREAMS__KEYS": self.key,
            "STREAMS__START": "earliest",
            "STREAMS__CLAIM_AFTER": "2s",
        }

    def send(self, events: Sequence[bytes]) -> int:
        """Send until it succeeds: an additional entry does no harm."""
        sent = 0

        def all_sent() -> bool:
            nonlocal sent
            sent += len(events)
            try:
                with at(self._port()) as client, client.pipeline(transaction=False) as pipe:
                    for event in events:
                        pipe.xadd(self.key, {"event": event})
                    pipe.execute()
            except (redis.RedisError, OSError):
                return False
            return True

        until_sync(all_sent, PATIENCE, f"{self.key} takes events")
        return sent

    def flush(self) -> None:
        """Do nothing: they are there."""

    def lag(self) -> int:
        try:
            with at(self._port()) as client:
                stream: Any = client.xinfo_stream(self.key)
                groups: Any = client.xinfo_groups(self.key)
        except (redis.RedisError, OSError):
            return 1
        if not groups:
            return 1
        unread = groups[0]["last-delivered-id"] != stream["last-generated-id"]
        return int(groups[0]["pending"]) + int(unread)


class Channel:
    """A pub/sub channel: nothing is acknowledged or stored."""

    def __init__(self, port: Callable[[], int], url: str) -> None:
        self.name = unique("channel")
        self._port = port
        self.settings = {"SOURCE_REDIS_URL": url, "PUBSUB__CHANNELS": self.name}

    def send(self, events: Sequence[bytes]) -> int:
        with at(self._port()) as client, client.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.publish(self.name, event)
            pipe.execute()
        return len(events)

    def flush(self) -> None:
        """Do nothing: a message is gone once it is sent."""

    def lag(self) -> int:
        return 0


def deal(events: Sequence[bytes], inlets: Sequence[Inlet], rng: random.Random) -> int:
    """Send each event to one of them; return how often one was sent."""
    hands: list[list[bytes]] = [[] for _ in inlets]
    for event in events:
        rng.choice(hands).append(event)
    return sum(inlet.send(hand) for inlet, hand in zip(inlets, hands, strict=True) if hand)
