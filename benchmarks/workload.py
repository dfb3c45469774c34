"""The workloads: events of about 220 bytes, twenty rules of which one matches, two keys.

Each variant changes one thing: what the events ask for, how they are wrapped, how many rules there
are. The contenders that others would write know the plain one, also when it is compressed.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.backends.kafka_client import Kafka

PARTITIONS = 8
ORDERS, CUSTOMERS = 50_000, 5_000
KEYS = '["order:single:{orderId}", "orders:count:{customerId}"]'
TEN = ", ".join(f'"order:part{n}:{{orderId}}"' for n in range(8))

Data = dict[str, Any]


def plain(number: int, data: Data) -> Data:
    return {
        "type": "order.updated",
        "id": f"evt-{number:08d}",
        "time": "2026-01-01T00:00:00Z",
        "data": data,
    }


def tenth(number: int, data: Data) -> Data:
    """Every tenth is of another type."""
    event = plain(number, data)
    return {**event, "type": "order.listed"} if number % 10 == 0 else event


def change(number: int, data: Data) -> Data:
    """As Debezium writes a row's update, without its schema."""
    return {
        "op": "u",
        "before": {**data, "status": "new"},
        "after": data,
        "source": {"table": "order", "db": "shop", "lsn": number},
        "ts_ms": 1_767_225_600_000 + number,
    }


def rules(
    matching: str = f"keys: {KEYS}", *, when: str = "", more: str = "", count: int = 20
) -> str:
    """`count` rules, of which one matches."""
    others = (
        f'  - {{name: other-{n}, on: other.{n}, invalidate: {{keys: ["other:{n}:{{id}}"]}}}}'
        for n in range(count - 1)
    )
    ours = f"  - {{name: order-changed, on: order.updated, {when}invalidate: {{{matching}}}}}"
    return "\n".join(["version: 1", "rules:", *others, ours, *filter(None, [more])]) + "\n"


def listed(names: str) -> str:
    """The rule for every tenth event, beside the same two keys."""
    return f"  - {{name: order-listed, on: order.listed, invalidate: {{keys: {KEYS}, {names}}}}}"


@dataclass(frozen=True, slots=True)
class Variant:
    """What one topic holds, and the rules for it."""

    name: str
    title: str
    rules: str = field(default_factory=rules)
    event: Callable[[int, Data], Data] = plain
    codec: str = "none"
    keys: int = 0  # that lie in Redis beforehand, whatever the events name
    like: str = ""  # another one whose topic it reads

    @property
    def holds(self) -> str:
        """What the topic is called by."""
        return self.like or self.name


PATTERN = 'patterns: ["orders:list:{customerId}:*"]'
MANY = f'keys: [{TEN}, "order:single:{{orderId}}", "orders:count:{{customerId}}"]'
FULL = 1_000_000

VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("plain", "two keys an event"),
        Variant("zstd", "compressed by zstd", codec="zstd"),
        Variant(
            "condition", "a condition", rules(when="when: 'status != \"draft\"', "), like="plain"
        ),
        Variant("debezium", "change events", event=change),
        Variant("ten-keys", "ten keys an event", rules(MANY), like="plain"),
        Variant("tag", "10% with a tag", rules(more=listed('tags: ["c:{customerId}"]')), tenth),
        Variant("full", "1M keys beside", keys=FULL, like="plain"),
        Variant(
            "pattern",
            "10% with a pattern, 1M keys beside",
            rules(more=listed(PATTERN)),
            tenth,
            keys=FULL,
            like="tag",
        ),
        Variant(
            "verified",
            "1% of the events checked for freshness",
            rules(when="verify: {cached: total, event: total}, "),
            like="plain",
        ),
        Variant("rules-10", "10 rules", rules(count=10), like="plain"),
        Variant("rules-1000", "1,000 rules", rules(count=1000), like="plain"),
    )
}


def events(variant: Variant, count: int, seed: int = 1) -> Iterator[bytes]:
    chance = random.Random(seed)
    for number in range(count):
        order = chance.randrange(ORDERS)
        data = _data(f"ord_{order:05d}", f"cus_{order % CUSTOMERS:04d}")
        yield orjson.dumps(variant.event(number, data))


def _data(order: str, customer: str) -> Data:
    return {
        "orderId": order,
        "customerId": customer,
        "status": "paid",
        "total": 12345,
        "currency": "EUR",
        "note": "left at the door",
    }


def event_of(variant: Variant, order: str) -> bytes:
    """One event, of an order that no other is of."""
    return orjson.dumps(variant.event(1, _data(order, "nobody")))


def end_keys() -> list[str]:
    return [f"order:single:end_{partition}" for partition in range(PARTITIONS)]


def preload(kafka: Kafka, topic: str, variant: Variant, count: int) -> None:
    kafka.create_topic(topic, PARTITIONS)
    kafka.produce(topic, events(variant, count), codec=variant.codec)
    for partition in range(PARTITIONS):  # their keys are gone when all before them were applied
        kafka.produce(topic, [event_of(variant, f"end_{partition}")], partition=partition)


def write_rules(folder: Path, variant: Variant) -> Path:
    path = folder / f"{variant.name}.yaml"
    path.write_text(variant.rules)
    return path
