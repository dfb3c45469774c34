"""The Kafka source when its broker is killed, frozen, or keeps what cannot be read."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from confluent_kafka import TopicPartition
from structlog.testing import capture_logs

from invalidator import metrics
from invalidator.health import Part
from invalidator.sources.consumer import Timing
from invalidator.sources.kafka import KafkaSource
from invalidator.sources.positions import Start
from invalidator.sources.security import Brokers
from tests.backends import until
from tests.backends.choose import NO_OWN_KAFKA, missing
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka, unique
from tests.contract.harness import raws, read, tasks

WATCHFUL = Timing(ask_every=0.2, answer=0.5)


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """One for all these tests: each leaves it running."""
    if not KafkaBroker.available():
        missing(NO_OWN_KAFKA)
    with KafkaBroker() as started:
        yield started


@pytest.fixture
def topic(broker: KafkaBroker) -> str:
    return Kafka(broker.bootstrap).topic(partitions=2)


Make = Callable[..., KafkaSource]


@pytest.fixture
async def make(broker: KafkaBroker, topic: str) -> AsyncIterator[Make]:
    group = unique("group")
    async with AsyncExitStack() as stack:

        def new(part: Part | None = None, start: str = "earliest") -> KafkaSource:
            source = KafkaSource(
                Brokers([broker.bootstrap]),
                [topic],
                group,
                start=Start.of(start),
                part=part or Part("kafka"),
                max_wait=0.0,
                timing=WATCHFUL,
            )
            stack.push_async_callback(source.close)
            return source

        yield new


async def test_a_broker_that_was_killed_is_missed_while_idle_and_gone_on_with(
    broker: KafkaBroker, topic: str, make: Make
) -> None:
    part = Part("kafka")
    source = make(part, "latest")
    await source.open()
    assert part.reason == ""
    Kafka(broker.bootstrap).produce(topic, ["before"], partition=0)
    for batch in await read(source, 1):
        await source.settle(batch)
    with capture_logs() as logs:
        broker.kill()
        await until(lambda: broker.bootstrap in part.reason, what="its absence is seen")
        assert await source.read(10) is None
        broker.launch()  # not in a thread: the server would end with it
        await until(lambda: asyncio.to_thread(broker.is_ready), 30.0)
        await until(lambda: not part.reason, what="it is seen again")
    assert [log["event"] for log in logs if log["event"] in ("waiting", "back")] == [
        "waiting",
        "back",
    ]
    Kafka(broker.bootstrap).produce(topic, ["after"], partition=1)
    assert raws(await read(source, 1, seconds=30)) == [b"after"]


async def test_a_frozen_broker_is_missed_and_does_not_hold_up_the_close(
    broker: KafkaBroker, topic: str, make: Make
) -> None:
    before = tasks()
    part = Part("kafka")
    source = make(part)
    await source.open()
    Kafka(broker.bootstrap).produce(topic, ["a"], partition=0)
    batches = await read(source, 1)
    broker.freeze()
    try:
        await until(lambda: "no answer" in part.reason, what="its silence is noticed")
        await source.settle(batches[0])
        began = time.monotonic()
        await source.close()
        assert time.monotonic() - began < 10.0
        assert tasks() <= before
    finally:
        broker.thaw()


async def test_a_record_that_cannot_be_read_holds_up_no_other_partition(
    broker: KafkaBroker, topic: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library drops what it has already taken from others when a checksum fails."""
    monkeypatch.setattr("invalidator.sources.kafka.ASIDE_FOR", 0.5)
    kafka = Kafka(broker.bootstrap)
    kafka.produce(topic, ["good 0"], partition=1)
    kafka.produce(topic, ["x" * 500], partition=1)
    log = broker.directory / "data" / f"{topic}-1" / f"{0:020}.log"
    intact = log.read_bytes()
    kafka.produce(topic, [f"{number}" for number in range(100)], partition=0)
    part = Part("kafka")
    with log.open("r+b") as segment:
        segment.seek(len(intact) - 100)
        segment.write(b"y")
    source = make(part)
    await source.open()
    found = raws(await read(source, 101, limit=10))
    assert sorted(found, key=str) == sorted(
        [b"good 0", *(b"%d" % number for number in range(100))], key=str
    )
    await until(lambda: _read_and_see(source, f"{topic}-1 cannot be read at 1", part))
    kafka.produce(topic, ["flows"], partition=0)
    assert raws(await read(source, 1)) == [b"flows"]
    log.write_bytes(intact)
    assert raws(await read(source, 1)) == [b"x" * 500]
    assert part.reason == ""


async def test_a_position_that_the_broker_no_longer_keeps_is_a_gap(
    broker: KafkaBroker, topic: str, make: Make
) -> None:
    kafka = Kafka(broker.bootstrap)
    kafka.produce(topic, ["a", "b", "c", "d"], partition=0)
    first = make()
    await first.open()
    for batch in await read(first, 1, limit=1):
        await first.settle(batch)
    await first.close()
    deleted = TopicPartition(topic, 0, 3)
    kafka.admin.delete_records([deleted])[deleted].result(10)
    gaps = metrics.GAPS.labels("kafka", "position lost")
    before = gaps._value.get()
    source = make()
    with capture_logs() as logs:
        await source.open()
        assert raws(await read(source, 1)) == [b"d"]
    assert gaps._value.get() == before + 1
    (gap,) = [log for log in logs if log["event"] == "gap"]
    assert (gap["partition"], gap["lost"], gap["goes_on"]) == (f"{topic}-0", 1, 3)


async def _read_and_see(source: KafkaSource, words: str, part: Part) -> bool:
    await source.read(10)
    return words in part.reason
