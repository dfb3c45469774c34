"""The workload: order events of about 220 bytes, twenty rules of which one matches, two keys."""

import random
from collections.abc import Iterator
from pathlib import Path

import orjson

from tests.backends.kafka_client import Kafka

PARTITIONS = 8
ORDERS, CUSTOMERS = 50_000, 5_000

RULES = "\n".join(
    [
        "version: 1",
        "rules:",
        *(
            f'  - {{name: other-{n}, on: other.{n}, invalidate: {{keys: ["other:{n}:{{id}}"]}}}}'
            for n in range(19)
        ),
        "  - name: order-changed",
        "    on: order.updated",
        '    invalidate: {keys: ["order:single:{orderId}", "orders:count:{customerId}"]}',
    ]
)


def events(count: int, seed: int = 1) -> Iterator[bytes]:
    chance = random.Random(seed)
    for number in range(count):
        order = chance.randrange(ORDERS)
        yield orjson.dumps(
            {
                "type": "order.updated",
                "id": f"evt-{number:08d}",
                "time": "2026-01-01T00:00:00Z",
                "data": {
                    "orderId": f"ord_{order:05d}",
                    "customerId": f"cus_{order % CUSTOMERS:04d}",
                    "status": "paid",
                    "total": 12345,
                    "currency": "EUR",
                    "note": "left at the door",
                },
            }
        )


def end_marker(partition: int) -> bytes:
    """The last event of a partition: its key is gone when all before it were applied."""
    data = {"orderId": f"end_{partition}", "customerId": "nobody"}
    return orjson.dumps({"type": "order.updated", "data": data})


def end_keys() -> list[str]:
    return [f"order:single:end_{partition}" for partition in range(PARTITIONS)]


def preload(kafka: Kafka, topic: str, count: int) -> None:
    kafka.create_topic(topic, PARTITIONS)
    kafka.produce(topic, events(count))
    for partition in range(PARTITIONS):
        kafka.produce(topic, [end_marker(partition)], partition=partition)


def write_rules(folder: Path) -> Path:
    path = folder / "rules.yaml"
    path.write_text(RULES + "\n")
    return path
