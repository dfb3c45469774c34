"""The Kafka source when its broker is killed, frozen, or keeps what cannot be read."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack

import orjson
import pytest
from confluent_kafka import TopicPartition
from structlog.testing import capture_logs

from invalidator.errors import Unavailable
from invalidator.model import Batch, Slice
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.source import Start
from tests.backends import until
from tests.backends.choose import NO_OWN_KAFKA, missing
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka, unique
from tests.backends.kafka_log import PartitionLog, with_checksum, with_codec
from tests.contract.harness import raws, read, tasks

WATCHFUL = Timing(ask_every=0.2, answer=0.5)
IMPATIENT = Timing(ask_every=0.4, stalled_after=0.4)  # reads come every 0.3 s

FLAP = ["server-unavailable", "server-available"]


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

        def new(
            part: Part | None = None, start: str = "earliest", timing: Timing = WATCHFUL
        ) -> KafkaSource:
            source = KafkaSource(
                Brokers([broker.bootstrap]),
                [topic],
                group,
                start=Start.of(start),
                part=part or Part("kafka"),
                max_wait=0.0,
                timing=timing,
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
        await until(lambda: asyncio.to_thread(broker.is_ready))
        await until(lambda: not part.reason, what="it is seen again")
    assert [log["event"] for log in logs if log["event"] in FLAP] == FLAP
    Kafka(broker.bootstrap).produce(topic, ["after"], partition=1)
    assert raws(await read(source, 1)) == [b"after"]


async def test_a_batch_that_cannot_be_read_holds_up_no_other_partition_and_is_read_once_it_can(
    broker: KafkaBroker, topic: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library drops what it has already taken from others when a checksum fails."""
    monkeypatch.setattr("invalidator.sources.kafka.unreadable.ASIDE_FOR", 0.5)
    monkeypatch.setattr("invalidator.sources.kafka.unreadable.TRIES", 1000)
    kafka = Kafka(broker.bootstrap)
    kafka.produce(topic, ["good 0"], partition=1)
    kafka.produce(topic, ["x" * 500], partition=1)
    kafka.produce(topic, [f"{number}" for number in range(100)], partition=0)
    part = Part("kafka")
    log = PartitionLog(broker, topic, 1)
    log.write(-100, b"y")
    source = make(part)
    await source.open()
    found = raws(await read(source, 101, limit=10))
    assert sorted(found, key=str) == sorted(
        [b"good 0", *(b"%d" % number for number in range(100))], key=str
    )
    await until(lambda: _read_and_see(source, f"{topic}-1 cannot be read at 1", part))
    kafka.produce(topic, ["flows"], partition=0)
    assert raws(await read(source, 1)) == [b"flows"]
    log.write(-100, b"x")
    assert raws(await read(source, 1)) == [b"x" * 500]
    assert part.reason == ""


async def test_a_batch_that_stays_unreadable_is_a_dead_letter_and_passed_over(
    broker: KafkaBroker, topic: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.sources.kafka.unreadable.ASIDE_FOR", 0.1)
    kafka = Kafka(broker.bootstrap)
    kafka.produce(topic, ["0", "1"], partition=1)
    kafka.produce(topic, ["a" * 100, "b" * 100, "c" * 100], partition=1)
    kafka.produce(topic, ["5"], partition=1)
    log = PartitionLog(broker, topic, 1)
    log.write(log.read().index(b"b" * 100), b"x")
    part = Part("kafka")
    source = make(part)
    await source.open()
    before, refused, after = await read(source, 6 - 2)
    assert (raws([before]), raws([after])) == ([b"0", b"1"], [b"5"])
    (bad,) = refused.slices
    assert bad.refused
    assert bad.refused.error == "unreadable-batch"
    assert "cannot be read at 2-4, and was passed over: its checksum is wrong" in (
        bad.refused.message
    )
    record = bad.record(0)
    assert (record.origin, record.position) == (topic, "1@2-4")
    assert b"c" * 100 in (record.raw or b"")
    assert part.reason == ""
    await source.settle(before)
    await source.settle(refused)
    await until(lambda: kafka.committed(source._group, topic)[1] == 5)


async def test_a_codec_that_nobody_knows_needs_no_second_try(
    broker: KafkaBroker, topic: str, make: Make
) -> None:
    """Its checksum is right: what we have is what was written."""
    kafka = Kafka(broker.bootstrap)
    kafka.produce(topic, ["a"], partition=1)
    kafka.produce(topic, ["b"], partition=1)
    log = PartitionLog(broker, topic, 1)
    log.write(0, with_codec(log.read(), 7))
    kafka.produce(topic, ["flows"], partition=0)
    source = make()
    await source.open()
    batches = await read(source, 3)
    (bad,) = refused(batches)
    assert set(raws(batches)) == {b"b", b"flows", bad.values[0]}
    assert bad.refused
    assert "cannot be read at 0, and was passed over" in bad.refused.message
    assert "codec" in bad.refused.message


async def test_a_header_that_is_no_text_is_such_a_batch_from_its_record_on(
    broker: KafkaBroker, topic: str, make: Make
) -> None:
    kafka = Kafka(broker.bootstrap)
    producer = kafka.producer({"linger.ms": 200})
    for number in range(4):
        headers: dict[str, str | bytes | None] = {f"name-{number}": b"v"}
        producer.produce(topic, f"{number}", partition=0, headers=headers)
    assert producer.flush(10) == 0
    log = PartitionLog(broker, topic, 0)
    data = log.read()
    assert data.count(b"name-") == 4
    log.write(0, with_checksum(data.replace(b"name-2", b"\xff\xfe\xfd\xfc\xfb\xfa")))
    source = make()
    await source.open()
    batches = await read(source, 3)
    (bad,) = refused(batches)
    assert raws(batches) == [b"0", b"1", bad.values[0]]
    assert bad.record(0).position == "0@2-3"


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
    kafka.admin.delete_records([deleted])[deleted].result(60)
    gaps = metrics.GAPS.labels("kafka", "position lost")
    before = gaps._value.get()
    source = make()
    with capture_logs() as logs:
        await source.open()
        told = await until(lambda: source.read(10))
        assert kafka.committed(source._group, topic)[0] == 1, "not before it is settled"
        assert raws(await read(source, 1)) == [b"d"]
    assert gaps._value.get() == before + 1
    (gap,) = [log for log in logs if log["event"] == "source-gap"]
    assert (gap["partition"], gap["position"], gap["continues"], gap["lost"]) == (0, 1, 3, 2)
    assert (told.events, told.slices) == (0, [])
    event = orjson.loads(told.own[0].values[0] or b"")
    assert (event["type"], event["data"]["channel"]) == ("invalidator.gap", topic)
    await source.settle(told)
    await until(lambda: kafka.committed(source._group, topic)[0] == 3)


# --- a library that stands still ------------------------------------------------------------


async def test_a_client_that_stands_still_is_built_anew(
    broker: KafkaBroker, topic: str, make: Make
) -> None:
    kafka = Kafka(broker.bootstrap)
    source = make(timing=IMPATIENT)
    await source.open()
    assert source._member
    source._member.consumer._fetcher._proc_fetch_request = _nothing
    kafka.produce(topic, ["here"], partition=0)
    with pytest.raises(Unavailable, match=f"{topic}-0 does not move from 0, though there is more"):
        await read(source, 1)
    await source.open()
    assert raws(await read(source, 1)) == [b"here"]


async def test_the_end_of_a_transaction_is_nothing_to_wait_for(
    broker: KafkaBroker, topic: str, make: Make
) -> None:
    """It has an offset, and is no record."""
    producer = Kafka(broker.bootstrap).producer({"transactional.id": unique("writer")})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(topic, "here", partition=0)
    producer.commit_transaction(10)
    source = make(timing=IMPATIENT)
    await source.open()
    assert raws(await read(source, 1)) == [b"here"]
    began = time.monotonic()

    async def waited() -> bool:
        assert await source.read(1) is None
        return time.monotonic() - began > 1.3

    await until(waited)


# --- the last one: a broker that was frozen may need half a minute until it makes topics again


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


def refused(batches: Iterable[Batch]) -> list[Slice]:
    return [part for batch in batches for part in batch.slices if part.refused]


async def _nothing(*_: object) -> bool:
    """A fetch that brings nothing, and says nothing."""
    await asyncio.sleep(0.05)
    return False


async def _read_and_see(source: KafkaSource, words: str, part: Part) -> bool:
    await source.read(10)
    return words in part.reason
