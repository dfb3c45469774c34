"""Three brokers that are one Kafka: each has a copy of every partition."""

from contextlib import ExitStack
from typing import Self

from confluent_kafka import KafkaException

from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka
from tests.backends.waiting import until_sync


class KafkaCluster:
    """`with KafkaCluster() as cluster:` starts, and ends them."""

    def __init__(self, brokers: int = 3) -> None:
        self.brokers = [KafkaBroker() for _ in range(brokers)]
        voters = ",".join(
            f"{number}@127.0.0.1:{broker.controller_port}"
            for number, broker in enumerate(self.brokers, 1)
        )
        for number, broker in enumerate(self.brokers, 1):
            broker.config |= {
                "node.id": str(number),
                "controller.quorum.voters": voters,
                "offsets.topic.replication.factor": str(brokers),
                "min.insync.replicas": str(brokers - 1),
            }
        self._stack = ExitStack()

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers)

    def __enter__(self) -> Self:
        try:
            for broker in self.brokers:
                self._stack.callback(broker.close)
                broker.launch()
            until_sync(self._together, 90.0, "all brokers know each other")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def coordinator(self, group: str) -> KafkaBroker:
        """Return the broker that leads the partition which stores the group's positions."""
        topic = "__consumer_offsets"
        found = Kafka(self.bootstrap).admin.list_topics(topic, timeout=60.0).topics[topic]
        number: int = found.partitions[_hash(group) % len(found.partitions)].leader
        return self.brokers[number - 1]

    def _together(self) -> bool:
        """Return whether each broker answers and names all."""
        return all(self._knows_all(broker) for broker in self.brokers)

    def _knows_all(self, broker: KafkaBroker) -> bool:
        try:
            told = Kafka(broker.bootstrap).admin.list_topics(timeout=2.0).brokers
        except KafkaException:
            return False
        return len(told) == len(self.brokers)


def _hash(text: str) -> int:
    """Return Java's hash of a text without its sign, as Kafka uses it."""
    found = 0
    for letter in text:
        found = (31 * found + ord(letter)) & 0xFFFFFFFF
    return found & 0x7FFFFFFF
