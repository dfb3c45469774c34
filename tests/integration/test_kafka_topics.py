"""Topics that come and go while the Kafka source reads, and members that restart."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from confluent_kafka.cimpl import NewTopic
from structlog.testing import capture_logs

from invalidator.errors import Unavailable
from invalidator.runtime.health import Part
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing
from invalidator.sources.kafka.replay import KafkaReplay
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.source import Start
from tests.backends import until
from tests.backends.kafka_client import TIMEOUT, Kafka, unique
from tests.contract.harness import raws, read

QUICK = Timing(session=3.0, metadata_max_age=0.3, drain=5.0, ask_every=0.2, look_every=0.3)

Make = Callable[..., KafkaSource]


@pytest.fixture
async def make(kafka_bootstrap: str) -> AsyncIterator[Make]:
    """`make(topics, group, start)`: a member of a group, closed at the end."""
    async with AsyncExitStack() as stack:

        def new(
            topics: list[str],
            group: str,
            start: str = "latest",
            part: Part | None = None,
            instance_id: str = "",
        ) -> KafkaSource:
            source = KafkaSource(
                Brokers([kafka_bootstrap]),
                topics,
                group,
                start=Start.of(start),
                part=part or Part("kafka"),
                max_wait=0.0,
                timing=QUICK,
                instance_id=instance_id,
            )
            stack.push_async_callback(source.close)
            return source

        yield new


def delete(kafka: Kafka, topic: str) -> None:
    kafka.admin.delete_topics([topic])[topic].result(TIMEOUT)


async def test_names_and_patterns_go_together_and_internal_topics_match_none(
    kafka: Kafka, make: Make
) -> None:
    stem = unique("mixed")
    topics = [f"{stem}.eu", f"{stem}.us", f"{stem}-other", f"__{stem}.eu"]
    for topic in topics:
        kafka.create_topic(topic)
        kafka.produce(topic, [topic])
    source = make([rf"^(__)?{stem}\..*", f"{stem}-other"], unique("group"), "earliest")
    await source.open()
    assert sorted(raws(await read(source, 3)), key=str) == [
        f"{stem}-other".encode(),
        f"{stem}.eu".encode(),
        f"{stem}.us".encode(),
    ]
    assert await source.read(10) is None


async def test_a_topic_that_comes_to_match_is_read_from_its_beginning(
    kafka: Kafka, make: Make
) -> None:
    stem, group = unique("grows"), unique("group")
    old = kafka.create_topic(f"{stem}.old")
    kafka.produce(old, ["before the group"])
    source = make([rf"^{stem}\."], group)
    await source.open()
    kafka.produce(old, ["old"])
    held = await read(source, 1)
    new = kafka.create_topic(f"{stem}.new", partitions=2)
    kafka.produce(new, ["new"], partition=1)
    await source.settle(held[0])
    held = await read(source, 1)
    await source.settle(held[0])
    assert raws(held) == [b"new"]
    kafka.add_partitions(new, 3)
    kafka.produce(new, ["newest"], partition=2)
    held = await read(source, 1)
    await source.settle(held[0])
    assert raws(held) == [b"newest"]
    kafka.produce(old, ["older and newer"])
    assert raws(await read(source, 1)) == [b"older and newer"]


async def test_a_pattern_that_nothing_matches_yet_is_waited_for_and_misses_nothing(
    kafka: Kafka, make: Make
) -> None:
    """Though the start is `latest`: what is there later came while we were there."""
    stem = unique("later")
    source = make([rf"^{stem}\."], unique("group"))
    with pytest.raises(Unavailable, match=rf"there is no topic named '\^{stem}"):
        await source.open()
    kafka.produce(kafka.create_topic(f"{stem}.eu"), ["first"])
    await source.open()
    assert raws(await read(source, 1)) == [b"first"]


async def test_a_topic_that_vanishes_is_said_and_does_not_stop_the_others(
    kafka: Kafka, make: Make
) -> None:
    stays, goes = kafka.topic(), kafka.topic()
    part = Part("kafka")
    source = make([stays, goes], unique("group"), part=part)
    await source.open()
    assert part.reason == ""
    delete(kafka, goes)
    with capture_logs() as logs:
        await until(lambda: _read_and_see(source, part, f"there is no topic named '{goes}'"))
    assert [log["reads"] for log in logs if log["event"] == "kafka-topics-changed"] == [[stays]]
    kafka.produce(stays, ["flows"])
    held = await read(source, 1)
    await source.settle(held[0])
    assert raws(held) == [b"flows"]
    kafka.create_topic(goes)
    kafka.produce(goes, ["back"])
    assert raws(await read(source, 1)) == [b"back"]
    await until(lambda: not part.reason)


async def test_a_topic_that_is_missing_at_the_start_does_not_stop_the_others_either(
    kafka: Kafka, make: Make
) -> None:
    there, absent = kafka.topic(), unique("absent")
    part = Part("kafka")
    source = make([there, absent], unique("group"), part=part)
    await source.open()
    assert f"there is no topic named '{absent}'" in part.reason
    kafka.produce(there, ["flows"])
    assert raws(await read(source, 1)) == [b"flows"]
    assert absent not in kafka.topics(), "nor is it made by asking for it"


async def test_two_members_follow_a_pattern_together(kafka: Kafka, make: Make) -> None:
    stem, group = unique("both"), unique("group")
    kafka.create_topic(f"{stem}.a", partitions=2)
    members = [make([rf"^{stem}\."], group) for _ in range(2)]
    for member in members:
        await member.open()
    new = kafka.create_topic(f"{stem}.b", partitions=2)
    for partition in range(2):
        kafka.produce(new, [f"{partition}"], partition=partition)
    found: set[bytes | None] = set()

    async def all_came() -> bool:
        for member in members:
            if batch := await member.read(100):
                await member.settle(batch)
                found.update(raws([batch]))
        return found == {b"0", b"1"}

    await until(all_came)


# --- static members ---------------------------------------------------------------------------


async def test_a_static_member_that_restarts_moves_no_partitions(kafka: Kafka, make: Make) -> None:
    topic, group = kafka.topic(partitions=2), unique("group")
    first = make([topic], group, instance_id="one")
    second = make([topic], group, instance_id="two")
    await first.open()
    await second.open()
    await until(lambda: assigned(first) and assigned(second))
    before = second._member
    assert before
    assignment = before.assignment
    await first.close()
    again = make([topic], group, instance_id="one")
    await again.open()
    assert again._member
    assert second._member is before
    assert before.assignment is assignment, "nobody rebalanced"
    for partition in range(2):
        kafka.produce(topic, [f"{partition}"], partition=partition)
    both = await read(again, 1) + await read(second, 1)
    assert set(raws(both)) == {b"0", b"1"}


def assigned(source: KafkaSource) -> bool:
    return source._member is not None and source._member.assigned.is_set()


async def _read_and_see(source: KafkaSource, part: Part, words: str) -> bool:
    await source.read(10)
    return words in part.reason


async def _reads(source: KafkaSource | KafkaReplay) -> None:
    await source.read(10)


async def test_a_group_reads_more_topics_than_a_commit_can_tell_of(
    kafka: Kafka, make: Make
) -> None:
    stem, group = unique("shop.public.a_table_with_a_long_name"), unique("group")
    topics = [NewTopic(f"{stem}.{number:03}", 1, replication_factor=1) for number in range(100)]
    for made in kafka.admin.create_topics(topics).values():
        made.result(TIMEOUT)
    kafka.produce(f"{stem}.007", ["before the group"])
    source = make([rf"^{stem}\."], group)
    await source.open()
    kafka.produce(f"{stem}.007", ["first"])
    held = await read(source, 1)
    await source.settle(held[0])
    await source.close()
    assert raws(held) == [b"first"]
    kafka.create_topic(f"{stem}.new")
    kafka.produce(f"{stem}.new", ["new"])
    kafka.produce(f"{stem}.042", ["while nobody was there"])
    source = make([rf"^{stem}\."], group)
    await source.open()
    assert sorted(raws(await read(source, 2)), key=str) == [b"new", b"while nobody was there"]


@pytest.mark.parametrize("noticed", [True, False])
async def test_the_only_topic_is_read_from_its_beginning_when_it_is_made_again(
    kafka: Kafka, make: Make, noticed: bool
) -> None:
    topic, group = kafka.topic("again"), unique("group")
    source = make([topic], group)
    await source.open()
    kafka.produce(topic, ["old"] * 5)
    for batch in await read(source, 5):
        await source.settle(batch)
    await until(lambda: kafka.committed(group, topic) == {0: 5})
    delete(kafka, topic)
    await until(lambda: topic not in kafka.topics())
    if noticed:
        with pytest.raises(Unavailable, match="no topic named"):
            await until(lambda: _reads(source))
    kafka.create_topic(topic)
    kafka.produce(topic, ["new"] * 3)
    await source.open()
    assert raws(await read(source, 3)) == [b"new"] * 3
