"""The Kafka source on a real broker. What a broker suffers from is in test_kafka_trouble.py."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.commit import OffsetFetchRequest

from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.runtime.health import Part
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing
from invalidator.sources.kafka.offsets import GroupPositions, GroupStart
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.source import Start
from tests.backends import until
from tests.backends.kafka_client import Kafka, unique
from tests.backends.waiting import turn
from tests.contract.harness import raws, read, records

QUICK = Timing(session=3.0, metadata_max_age=0.3, drain=5.0)
HOURS = 3_600_000  # in milliseconds

Make = Callable[..., KafkaSource]


@pytest.fixture
async def make(kafka_bootstrap: str) -> AsyncIterator[Make]:
    """`make(topic, group, start)`: a member of a group, closed at the end."""
    async with AsyncExitStack() as stack:

        def new(
            topic: str, group: str, start: str | float = "earliest", timing: Timing = QUICK
        ) -> KafkaSource:
            source = KafkaSource(
                Brokers([kafka_bootstrap]),
                [topic],
                group,
                start=Start.of(start),
                part=Part("kafka"),
                max_wait=0.0,
                timing=timing,
            )
            stack.push_async_callback(source.close)
            return source

        yield new


async def settle(source: KafkaSource, batches: Iterable[Batch]) -> None:
    for batch in batches:
        await source.settle(batch)


def publish_at(kafka: Kafka, topic: str, value: str, time_ms: int, partition: int = 0) -> None:
    producer = kafka.producer()
    producer.produce(topic, value, partition=partition, timestamp=time_ms)
    assert producer.flush(60) == 0


def now_ms() -> int:
    return int(time.time() * 1000)


# --- records ------------------------------------------------------------------------------


async def test_every_codec_is_read(kafka: Kafka, make: Make) -> None:
    topic = kafka.topic()
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    for codec in codecs:
        kafka.produce(topic, [f"{codec} {number}" * 50 for number in range(50)], codec=codec)
    source = make(topic, unique("group"))
    await source.open()
    found = raws(await read(source, 250))
    assert found == [(f"{c} {n}" * 50).encode() for c in codecs for n in range(50)]


async def test_key_headers_position_and_time_are_kept(kafka: Kafka, make: Make) -> None:
    topic = kafka.topic(partitions=2)
    headers: dict[str, str | bytes | None] = {"type": "order", "raw": b"\xff", "none": None}
    before = now_ms()
    kafka.produce(topic, ["plain"], partition=1)
    kafka.produce(topic, ["full"], partition=1, key=b"\x00key", headers=headers)
    source = make(topic, unique("group"))
    await source.open()
    plain, full = records(await read(source, 2))
    assert (plain.key, plain.headers, plain.position) == (None, (), "1@0")
    assert (full.key, full.origin, full.position) == (b"\x00key", topic, "1@1")
    assert full.headers == (("type", b"order"), ("raw", b"\xff"), ("none", b""))
    assert full.time_ms is not None
    assert before - 1000 <= full.time_ms <= now_ms() + 1000


async def test_a_batch_brings_its_headers_where_any_record_has_some(
    kafka: Kafka, make: Make
) -> None:
    """Planning asks the batch, not every record, for a type that stands in headers."""
    plain, mixed = kafka.topic(), kafka.topic()
    kafka.produce(plain, ["a", "b"])
    kafka.produce(mixed, ["a"])
    kafka.produce(mixed, ["b"], headers={"ce_type": "order", "ce_none": None})
    found = []
    for topic in (plain, mixed):
        source = make(topic, unique("group"))
        await source.open()
        batches = await read(source, 2)
        found.append([list(one) for batch in batches for p in batch.slices for one in p.headers])
    assert found[0] == []
    assert found[1][-1] == [("ce_type", b"order"), ("ce_none", b"")]


async def test_aborted_records_and_the_ends_of_transactions_are_passed_and_committed(
    kafka: Kafka, make: Make
) -> None:
    """Each transaction ends with a control record, which has an offset and is no record."""
    topic, group = kafka.topic(), unique("group")
    producer = kafka.producer({"transactional.id": unique("writer")})
    producer.init_transactions(60)
    for number in range(6):
        producer.begin_transaction()
        producer.produce(topic, f"{number}")
        producer.flush(60)
        if number % 2:
            producer.abort_transaction(10)
        else:
            producer.commit_transaction(60)
    source = make(topic, group)
    await source.open()
    batches = await read(source, 3)
    assert raws(batches) == [b"0", b"2", b"4"]
    assert [r.position for r in records(batches)] == ["0@0", "0@4", "0@8"]

    async def all_committed() -> bool:
        await source.read(1)
        return kafka.committed(group, topic) == kafka.ends(topic) == {0: 12}

    assert not await all_committed(), "what was read is not settled"
    await settle(source, batches)
    await until(all_committed)
    assert (source.lag(), kafka.lag(group, topic)) == ({(topic, "0"): 0}, 0)
    await source.close()
    successor = make(topic, group)
    await successor.open()
    kafka.produce(topic, ["new"])
    assert raws(await read(successor, 1)) == [b"new"]


async def test_a_compacted_topic_has_holes_and_is_read_to_its_end(kafka: Kafka, make: Make) -> None:
    group = unique("group")
    compact = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
    }
    topic = kafka.create_topic(unique("compact"), config=compact)
    for number in range(20):
        kafka.produce(topic, [f"{number}"], key="same")
    reader = unique("looks")

    async def compacted() -> bool:
        kafka.produce(topic, ["roll"], key="other")  # only a closed segment is compacted
        source = make(topic, f"{reader}-{time.monotonic_ns()}")
        await source.open()
        found = raws(await read(source, 1))
        await source.close()
        return b"0" not in found and b"19" in found

    await until(compacted, what="the log is compacted")
    source = make(topic, group)
    await source.open()
    end = kafka.ends(topic)[0]
    batches = await read(source, 1)
    while records(batches)[-1].position != f"0@{end - 1}":
        batches += await read(source, 1)
    assert raws(batches).count(b"19") == 1
    await settle(source, batches)
    await source.close()
    assert kafka.committed(group, topic) == {0: end}


# --- where a group begins -------------------------------------------------------------------


@pytest.mark.parametrize(("start", "begins"), [("earliest", 0), (-3600.0, 1), ("latest", 2)])
async def test_a_new_group_commits_where_it_begins_before_any_event(
    kafka: Kafka, make: Make, start: str | float, begins: int
) -> None:
    topic, group = kafka.topic(), unique("group")
    publish_at(kafka, topic, "two hours old", now_ms() - 2 * HOURS)
    publish_at(kafka, topic, "half an hour old", now_ms() - HOURS // 2)
    source = make(topic, group, start)
    await source.open()
    assert kafka.committed(group, topic) == {0: begins}
    kafka.produce(topic, ["new"])
    found = raws(await read(source, 3 - begins))
    assert found == [b"two hours old", b"half an hour old", b"new"][begins:]


async def test_the_start_is_of_no_account_where_the_group_has_a_position(
    kafka: Kafka, make: Make
) -> None:
    topic, group = kafka.topic(), unique("group")
    first = make(topic, group, "latest")
    await first.open()
    await first.close()
    kafka.produce(topic, ["while nobody was there"])
    second = make(topic, group, "latest")
    await second.open()
    assert raws(await read(second, 1)) == [b"while nobody was there"]


async def test_a_partition_added_later_is_read_from_its_beginning(kafka: Kafka, make: Make) -> None:
    topic, group = kafka.topic(), unique("group")
    kafka.produce(topic, ["before the group"])
    source = make(topic, group, "latest")
    await source.open()
    kafka.add_partitions(topic, 3)
    kafka.produce(topic, ["in the new one"], partition=2)
    assert raws(await read(source, 1)) == [b"in the new one"]
    assert kafka.committed(group, topic) == {0: 1, 1: 0, 2: 0}


async def test_two_members_that_start_together_lose_nothing_of_what_comes_then(
    kafka: Kafka, make: Make
) -> None:
    topic, group = kafka.topic(partitions=4), unique("group")
    for partition in range(4):
        publish_at(kafka, topic, "old", now_ms() - HOURS, partition)
    members = [make(topic, group, "latest") for _ in range(2)]
    await asyncio.gather(*(member.open() for member in members))
    for partition in range(4):
        kafka.produce(topic, [f"new {partition}"], partition=partition)
    found: set[bytes | None] = set()

    async def all_came() -> bool:
        for member in members:
            if batch := await member.read(100):
                await member.settle(batch)
                found.update(raws([batch]))
        return found >= {b"new 0", b"new 1", b"new 2", b"new 3"}

    await until(all_came)
    assert b"old" not in found


async def test_a_partition_whose_first_owner_died_at_once_begins_where_the_group_did(
    kafka: Kafka, make: Make, kafka_bootstrap: str
) -> None:
    """Else "latest" would mean the moment in which another member took it over."""
    topic, group = kafka.topic(partitions=2), unique("group")
    born = now_ms() - 10 * 60_000
    publish_at(kafka, topic, "before the birth", born - 10 * 60_000, 1)
    publish_at(kafka, topic, "after the birth", born + 60_000, 1)
    other = AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap, group_id=group, enable_auto_commit=False
    )
    await other.start()
    survivor = TopicPartition(topic, 0)
    other.assign([survivor])
    await other.commit({survivor: OffsetAndMetadata(0, GroupStart(born, {topic: 2}).dump(topic))})
    await other.stop()
    source = make(topic, group, "latest")
    await source.open()
    assert raws(await read(source, 1)) == [b"after the birth"]


async def test_positions_of_another_tool_are_gone_on_from(
    kafka: Kafka, make: Make, kafka_bootstrap: str
) -> None:
    topic, group = kafka.topic(partitions=2), unique("group")
    kafka.produce(topic, ["done", "to do"], partition=0)
    kafka.produce(topic, ["unknown to it"], partition=1)
    other = AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap, group_id=group, enable_auto_commit=False
    )
    await other.start()
    known = TopicPartition(topic, 0)
    other.assign([known])
    await other.commit({known: OffsetAndMetadata(1, "something of its own")})
    await other.stop()
    source = make(topic, group, "latest")
    await source.open()
    assert set(raws(await read(source, 2))) == {b"to do", b"unknown to it"}


async def test_a_position_beyond_the_end_of_a_log_that_was_cut_is_taken_back(
    kafka: Kafka, make: Make, kafka_bootstrap: str
) -> None:
    """Else what comes up to it, while nobody is there, would be passed over."""
    topic, group = kafka.topic(partitions=1), unique("group")
    other = AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap, group_id=group, enable_auto_commit=False
    )
    await other.start()
    ours = TopicPartition(topic, 0)
    other.assign([ours])
    await other.commit({ours: OffsetAndMetadata(5, "")})
    await other.stop()
    kafka.produce(topic, ["0", "1", "2"])
    source = make(topic, group)
    await source.open()
    for batch in await read(source, 3):
        await source.settle(batch)
    await source.close()
    kafka.produce(topic, ["3", "4", "5", "6"])
    source = make(topic, group)
    await source.open()
    assert raws(await read(source, 4)) == [b"3", b"4", b"5", b"6"]


async def test_a_coordinator_that_still_loads_does_not_make_the_group_look_newborn(
    kafka: Kafka, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, group = kafka.topic(), unique("group")
    first = make(topic, group, "latest")
    await first.open()
    await first.close()
    kafka.produce(topic, ["to be read"])
    ask = GroupCoordinator._send_req
    loading = [14, 14]  # what a coordinator answers while it loads its groups

    async def answer(self: Any, request: Any) -> Any:
        found = await ask(self, request)
        if isinstance(request, OffsetFetchRequest) and loading:
            found.error_code, found.topics = loading.pop(), []
        return found

    monkeypatch.setattr(GroupCoordinator, "_send_req", answer)
    second = make(topic, group, "latest")
    await second.open()
    assert not loading
    assert raws(await read(second, 1)) == [b"to be read"]


async def test_a_topic_that_does_not_exist_is_named_and_never_created(
    kafka: Kafka, make: Make
) -> None:
    topic = unique("nowhere")
    source = make(topic, unique("group"))
    with pytest.raises(Unavailable, match=rf"no topic named '{topic}'"):
        await source.open()
    with pytest.raises(Unavailable, match="not connected"):
        await source.read(1)
    assert topic not in kafka.topics()
    kafka.create_topic(topic)
    kafka.produce(topic, ["here"])
    await source.open()
    assert raws(await read(source, 1)) == [b"here"]


# --- rebalances -----------------------------------------------------------------------------


async def test_a_rebalance_waits_for_the_batch_in_work(kafka: Kafka, make: Make) -> None:
    topic, group = kafka.topic(partitions=2), unique("group")
    kafka.produce(topic, ["in work"], partition=0)
    kafka.produce(topic, ["in work"], partition=1)
    first, second = make(topic, group), make(topic, group)
    await first.open()
    held = await read(first, 2)
    joining = asyncio.create_task(second.open())
    await until(lambda: not assigned(first), what="the group rebalances")
    await first.keep_alive()  # as the pipeline does while it has no room: it may not block
    assert await first.read(10) is None
    assert not joining.done()
    await settle(first, held)
    await asyncio.wait_for(joining, 60)
    assert kafka.committed(group, topic) == {0: 1, 1: 1}
    for partition in range(2):
        kafka.produce(topic, ["next"], partition=partition)
    await until(lambda: assigned(first))
    both = await asyncio.gather(read(first, 1), read(second, 1))
    assert [raws(one) for one in both] == [[b"next"], [b"next"]]


async def test_a_batch_whose_partition_was_taken_away_is_never_committed(
    kafka: Kafka, make: Make
) -> None:
    topic, group = kafka.topic(), unique("group")
    kafka.produce(topic, ["slow"])
    hasty = Timing(session=3.0, drain=0.2)
    first, second = make(topic, group, timing=hasty), make(topic, group, timing=hasty)
    await first.open()
    held = await read(first, 1)
    await second.open()
    await until(lambda: assigned(first))
    await settle(first, held)
    again = await asyncio.wait_for(either(first, second), 60)
    assert raws([again]) == [b"slow"]
    await asyncio.gather(first.close(), second.close())
    assert kafka.committed(group, topic) == {0: 0}


async def test_members_that_come_and_go_under_load_lose_nothing(kafka: Kafka, make: Make) -> None:
    topic, group = kafka.topic(partitions=3), unique("group")
    seen: set[bytes | None] = set()
    committed: dict[int, int] = {}
    backwards: list[str] = []
    stop = asyncio.Event()

    async def work(source: KafkaSource, until_told: asyncio.Event) -> None:
        await source.open()
        while not until_told.is_set() and not stop.is_set():
            if batch := await source.read(20):
                await turn()
                await source.settle(batch)
                seen.update(raws([batch]))
        await source.close()

    def look() -> None:
        for partition, offset in kafka.committed(group, topic).items():
            if offset < committed.get(partition, 0):
                backwards.append(f"{partition}: {committed[partition]} -> {offset}")
            committed[partition] = offset

    leave = asyncio.Event()
    tasks = [asyncio.create_task(work(make(topic, group), asyncio.Event()))]
    expected: set[bytes | None] = set()
    for part in range(10):
        values = [f"{part} {number}" for number in range(200)]
        await asyncio.to_thread(kafka.produce, topic, values)
        expected.update(value.encode() for value in values)
        await asyncio.to_thread(look)
        if part == 2:
            tasks.append(asyncio.create_task(work(make(topic, group), leave)))
        if part == 6:
            leave.set()
    await until(lambda: len(seen) == len(expected), what="all events came")
    stop.set()
    await asyncio.gather(*tasks)
    assert seen == expected
    look()
    assert backwards == []
    assert kafka.lag(group, topic) == 0


async def test_a_member_that_holds_for_long_stays_in_the_group(kafka: Kafka, make: Make) -> None:
    topic, group = kafka.topic(), unique("group")
    kafka.produce(topic, [f"{number}" for number in range(10)])
    source = make(topic, group, timing=Timing(session=1.0, max_poll_interval=1.0))
    await source.open()
    held = await read(source, 1, limit=1)
    began = time.monotonic()

    async def held_for_long() -> bool:
        await source.keep_alive()
        assert assigned(source)
        return time.monotonic() - began > 2.5

    await until(held_for_long)
    assert kafka.members(group) == 1
    await settle(source, held)
    assert raws(held + await read(source, 9)) == [b"%d" % number for number in range(10)]


async def test_a_member_that_was_given_up_does_not_commit(kafka: Kafka, make: Make) -> None:
    """It joins again, and reads again what nobody else has read."""
    topic, group = kafka.topic(), unique("group")
    kafka.produce(topic, ["once more"])
    hasty = Timing(session=1.0, max_poll_interval=0.5, drain=0.1)
    source = make(topic, group, timing=hasty)
    await source.open()
    held = await read(source, 1)
    await until(lambda: not assigned(source), what="it left, for it did not poll")
    await settle(source, held)
    assert raws(await read(source, 1)) == [b"once more"]


# --- the listener ---------------------------------------------------------------------------


async def test_an_assignment_that_fails_is_said_and_tried_again(
    kafka: Kafka, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library swallows what a listener raises: it would give nothing for ever."""
    topic = kafka.topic()
    kafka.produce(topic, ["here"])
    source = make(topic, unique("group"))
    find, failures = GroupPositions.find, [OSError("no route")]

    async def fails_once(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return await find(*args)

    monkeypatch.setattr(GroupPositions, "find", fails_once)
    with pytest.raises(Unavailable, match="no position for the assigned partitions: OSError"):
        await source.open()
    await source.open()
    assert raws(await read(source, 1)) == [b"here"]


async def test_a_task_of_the_library_that_died_is_found(kafka: Kafka, make: Make) -> None:
    """It would go on to answer polls, with nothing."""
    topic = kafka.topic()
    source = make(topic, unique("group"))
    await source.open()
    assert source._member
    source._member.consumer._fetcher._fetch_task.cancel()

    async def fails() -> bool:
        try:
            await source.read(10)
        except Unavailable as error:
            return "_fetch_requests_routine ended" in str(error)
        return False

    await until(fails)
    kafka.produce(topic, ["here"])
    await source.open()
    assert raws(await read(source, 1)) == [b"here"]


def assigned(source: KafkaSource) -> bool:
    return source._member is not None and source._member.assigned.is_set()


async def either(*sources: KafkaSource) -> Batch:
    while True:
        for source in sources:
            if batch := await source.read(10):
                return batch


async def test_an_open_that_is_given_up_at_any_moment_leaves_no_connection(
    kafka: Kafka, make: Make
) -> None:
    topic = kafka.topic()
    for step in range(40):
        source = make(topic, unique("group"))
        opening = asyncio.create_task(source.open())
        await asyncio.wait({opening}, timeout=step * 0.0015)
        opening.cancel()
        await asyncio.wait({opening})
        await source.close()
    gc.collect()  # one that is still open says so, and that is an error
