"""Where a group begins, and what its commits say about that."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.errors import CoordinatorLoadInProgressError
from aiokafka.structs import OffsetAndTimestamp

from invalidator.sources.kafka import offsets
from invalidator.sources.kafka.offsets import (
    GroupPositions,
    GroupStart,
    Note,
    Positions,
    Wanted,
    first_since,
)
from invalidator.sources.kafka.private import group_offsets
from invalidator.sources.source import Start


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("latest", Start("latest")),
        ("earliest", Start("earliest")),
        (-3600.0, Start("ago", 3600.0)),
        ("-60", Start("ago", 60.0)),
    ],
)
def test_the_setting_is_a_word_or_so_many_seconds_ago(setting: str | float, wanted: Start) -> None:
    assert Start.of(setting) == wanted


def test_a_start_survives_the_metadata_of_a_commit() -> None:
    start = GroupStart(1700000000000, {"orders": 3, "items": 1})
    assert GroupStart.parse(start.dump("orders")) == start


def test_a_note_stays_within_what_brokers_take_however_many_topics_there_are() -> None:
    topics = {f"shop.public.a_table_of_many_{number:04}": 3 for number in range(300)}
    start = GroupStart(1700000000000, topics)
    note = Note("0123456789abcdef" * 2, 1700000000.5)
    notes = {topic: start.dump(topic, note) for topic in topics}
    assert max(map(len, notes.values())) < 4096
    told = [found for note in notes.values() if (found := GroupStart.parse(note))]
    assert GroupStart.of(told) == start
    assert GroupStart.of(told[1:]) != start
    assert GroupStart.parse(start.dump("added later")) == GroupStart(start.time_ms, {})


def test_of_several_starts_the_earliest_counts() -> None:
    later, earlier = GroupStart(7, {"orders": 4, "new": 1}), GroupStart(5, {"orders": 3})
    assert GroupStart.of([later, earlier]) == GroupStart(5, {"orders": 3, "new": 1})


@pytest.mark.parametrize(
    "note",
    [
        *("", "null", "[]", "7", '"text"', "{}", "{", "\x00", "written by another tool"),
        '{"born": "yesterday", "had": {}}',
        '{"born": 1, "had": [1]}',
        '{"born": 1, "had": {"orders": null}}',
        '{"born": 1}',
    ],
)
def test_what_another_tool_wrote_is_no_start(note: str) -> None:
    assert GroupStart.parse(note) is None


def test_what_later_versions_add_to_a_note_is_passed_over() -> None:
    note = '{"v": 2, "born": 5, "had": {"orders": 1}, "primary": "10.0.0.1"}'
    assert GroupStart.parse(note) == GroupStart(5, {"orders": 1})


def test_a_commit_says_which_servers_have_applied_all_before_it() -> None:
    start = GroupStart(5, {"orders": 1})
    metadata = start.dump("orders", Note("servers", 100.9))
    assert Note.parse(metadata) == Note("servers", 100.0)
    assert GroupStart.parse(metadata) == start
    assert len(metadata) < 200


@pytest.mark.parametrize(
    "metadata",
    [
        *("", "null", "[]", "{", "written by another tool"),
        '{"v": 1, "born": 1, "had": {"orders": 1}}',
        '{"v": 2, "born": 1, "had": {}, "era": "e", "trail": [[1, 1]]}',
        '{"v": 3, "born": 1, "had": {}, "identity": "e", "since": "a"}',
    ],
)
def test_a_commit_of_another_tool_or_version_says_nothing_of_servers(metadata: str) -> None:
    assert Note.parse(metadata) == Note()


def test_a_start_knows_which_partitions_were_there() -> None:
    start = GroupStart(0, {"orders": 2})
    assert start.had(TopicPartition("orders", 1))
    assert not start.had(TopicPartition("orders", 2))
    assert not start.had(TopicPartition("items", 0))


async def test_where_no_record_is_late_enough_reading_begins_at_the_end() -> None:
    early, late = TopicPartition("orders", 0), TopicPartition("orders", 1)

    class Consumer:
        async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[Any, Any]:
            assert times == {early: 0, late: 5}
            return {early: OffsetAndTimestamp(3, 7), late: None}

    consumer: Any = Consumer()
    found = await first_since(consumer, {early: -1, late: 5}, {early: 9, late: 9})
    assert found == {early: 3, late: 9}


def coordinator(error: int = 0, of_partition: int = 0) -> Any:
    class Coordinator:
        group_id = "group"

        async def ensure_coordinator_known(self) -> None:
            pass

        async def _send_req(self, _: object) -> SimpleNamespace:
            answers = [(0, 5, "note", 0), (1, -1, "", of_partition)]
            return SimpleNamespace(error_code=error, topics=[("orders", answers)])

    return SimpleNamespace(_coordinator=Coordinator())


async def test_partitions_without_a_commit_are_left_out() -> None:
    found = await group_offsets(coordinator())
    assert found == {TopicPartition("orders", 0): OffsetAndMetadata(5, "note")}


@pytest.mark.parametrize("answer", [coordinator(14), coordinator(of_partition=14)])
async def test_an_error_of_the_coordinator_is_not_taken_for_no_commit(answer: Any) -> None:
    with pytest.raises(CoordinatorLoadInProgressError):
        await group_offsets(answer)


FIRST, SECOND = TopicPartition("orders", 0), TopicPartition("orders", 1)
METADATA = GroupStart(60_000, {"orders": 2}).dump("orders")


class Brokers:
    """Stands for a consumer: each log ends at 20, and the last minute began at 7."""

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[Any, int]:
        return dict.fromkeys(partitions, 20)

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[Any, Any]:
        return {tp: OffsetAndTimestamp(7, time) for tp, time in times.items()}


class Stored:
    """Stands for the positions in Redis."""

    def __init__(self, positions: dict[TopicPartition, int]) -> None:
        self.positions = positions

    async def load(self) -> dict[TopicPartition, int]:
        return self.positions


async def find(
    monkeypatch: pytest.MonkeyPatch,
    known: dict[TopicPartition, int],
    partition: TopicPartition,
    *committed: dict[TopicPartition, OffsetAndMetadata],
) -> Positions:
    """Return where one partition of two begins; `committed` is what the brokers answer in turn."""
    answers = [*committed]

    async def partition_counts(_: object) -> dict[str, int]:
        return {"orders": 2}

    async def commits(*_: object) -> object:
        return answers.pop(0)

    monkeypatch.setattr(offsets, "partition_counts", partition_counts)
    monkeypatch.setattr(GroupPositions, "_committed", commits)
    stored, consumer = cast("Any", Stored(known)), cast("Any", Brokers())
    positions = GroupPositions(Wanted(["orders"]), Start("ago", 60.0), stored=stored)
    await positions.topics(consumer)
    found = await positions.find(consumer, [partition])
    assert answers == []
    return found


async def test_a_forgotten_group_begins_where_it_was_for_every_member(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await find(monkeypatch, {FIRST: 5, SECOND: 9}, FIRST, {}, {})
    assert (found.positions, found.others) == ({FIRST: 5}, {SECOND: 7})  # -60s is before 9
    assert not found.start.had(FIRST)


async def test_a_group_that_another_member_begins_meanwhile_is_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its first member commits before it stores: what it stored is no forgotten group's."""
    begun = {FIRST: OffsetAndMetadata(9, METADATA)}
    found = await find(monkeypatch, {FIRST: 9}, SECOND, {}, begun)
    assert (found.positions, found.others) == ({SECOND: 7}, {})
