"""The servers that contenders share: a broker with a warm JVM, a Redis without disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka
from tests.backends.redis_server import RedisServer


class Broker(KafkaBroker):
    """With the JVM's full compiler: tests start fast, brokers in production run long."""

    # as Kafka's own scripts start it; without a goal, pauses of the collector last 100 ms
    jvm = (
        *("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
        "-XX:InitiatingHeapOccupancyPercent=35",
    )


@dataclass(frozen=True, slots=True)
class Servers:
    kafka: Kafka
    redis_url: str


@contextmanager
def servers(**config: str) -> Iterator[Servers]:
    """`config` is the broker's, with _ for a dot."""
    lines = {name.replace("_", "."): value for name, value in config.items()}
    with Broker(config=lines) as broker, RedisServer() as redis:
        yield Servers(Kafka(broker.bootstrap), redis.url)
