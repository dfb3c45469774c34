"""A log of Kafka that turns out to be cut while a batch of it still fills."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from invalidator.runtime.health import Part
from invalidator.sources.kafka.assignment import Epoch
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.fetch import Polled
from invalidator.sources.kafka.offsets import Birth, Found
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.start import Start

TP = TopicPartition("orders", 0)


async def test_what_was_read_before_a_log_was_found_cut_is_not_committed(monkeypatch: Any) -> None:
    found = Found(Birth(1, {"orders": 1}), {TP: 0}, frozenset())
    epoch = Epoch(1, found.birth, found.positions, found.stands("", 60.0, 0.0))
    source = KafkaSource(
        Brokers(["127.0.0.1:1"]),
        ["orders"],
        "group",
        start=Start.of("earliest"),
        part=Part("kafka"),
        max_wait=5.0,
    )
    record: Any = SimpleNamespace(offset=4, key=None, value=b"old", headers=(), timestamp=0)
    polls = iter([False, True])

    async def poll(*_: object) -> Polled:
        if next(polls):
            epoch.start_over(TP, 0)
            return {}
        epoch.next[TP] = 5
        return {TP: [record]}

    async def done(*_: object) -> bool:
        return True

    assigned = asyncio.Event()
    assigned.set()
    source._member = member = SimpleNamespace(epoch=epoch, assigned=assigned)  # type: ignore[assignment]
    for name, instead in {
        "_check": lambda: member,
        "_is_assigned": done,
        "_look_after": done,
        "_go_back": done,
        "_let_flow": lambda: None,
        "_poll": poll,
    }.items():
        monkeypatch.setattr(source, name, instead)
    batch = await source.read(100)
    assert batch
    await source.settle(batch)
    assert epoch.settled == {}
