"""Commits and rebalances of one member, with a group that answers as a test wants it to."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from invalidator.runtime.health import Part
from invalidator.sources.kafka import membership
from invalidator.sources.kafka.assignment import Assignment, End
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing, stop
from invalidator.sources.kafka.membership import Membership
from invalidator.sources.kafka.offsets import GroupStart, Positions
from invalidator.sources.kafka.private import Refused, describe
from tests.backends.waiting import LIMIT, turn

TP = TopicPartition("orders", 0)
START = GroupStart(1, {"orders": 1})
NOW = 100.0

Answer = Callable[[], Awaitable[None]]


class Group:
    """Stands for the consumer, the broker and the group's positions."""

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.last: Mapping[TopicPartition, OffsetAndMetadata] = {}
        self.seeks: list[int] = []
        self.answers: list[Answer | Exception] = []  # one per commit; then all is well
        self.found = Positions(START, {TP: 7}, frozenset())

    async def find(self, consumer: object, partitions: object) -> Positions:
        return self.found

    @property
    def started(self) -> GroupStart | None:
        return None

    @started.setter
    def started(self, start: GroupStart) -> None:
        assert self.commits

    async def store(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Nothing is stored."""

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.seeks.append(offset)

    async def commit(
        self, consumer: object, as_of: int, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer:
            await answer()
        self.last = offsets
        committed = offsets[TP]
        assert GroupStart.parse(committed.metadata) == START
        self.commits.append(committed.offset)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    group = Group()
    monkeypatch.setattr(membership, "commit", group.commit)
    monkeypatch.setattr(membership, "generation", lambda consumer: 1)
    monkeypatch.setattr(membership, "share_out", lambda consumer, partitions: None)
    return group


def member_of(group: Group, timing: Timing) -> Membership:
    seeker: Any = group
    return Membership(seeker, Brokers(["broker:9092"]), seeker, timing, Part("kafka"))


@pytest.fixture
def member(group: Group) -> Membership:
    return member_of(group, Timing(drain=0.05))


def give(member: Membership) -> Assignment:
    member.assignment.give()
    return member.assignment


def ends(offset: int) -> dict[TopicPartition, End]:
    return {TP: End(offset, 0)}


async def test_positions_that_the_group_has_are_not_committed_again(
    group: Group, member: Membership
) -> None:
    await member.on_partitions_assigned({TP})
    assert (group.seeks, group.commits) == ([7], [])
    assert member.assigned.is_set()


async def test_nothing_is_read_before_a_new_position_is_committed(
    group: Group, member: Membership
) -> None:
    group.found = Positions(START, {TP: 7}, frozenset({TP}))
    group.answers = [KafkaConnectionError("gone")]
    await member.on_partitions_assigned({TP})
    assert group.commits == [7]  # at the second try
    assert group.seeks == [7]
    group.answers = [OSError("no route")]
    await member.on_partitions_assigned({TP})
    assert "no route" in member.failure
    assert group.seeks == [7]


async def test_where_a_group_was_forgotten_the_first_member_commits_for_all(
    group: Group, member: Membership
) -> None:
    other = TopicPartition("orders", 1)
    group.found = Positions(START, {TP: 7}, frozenset({TP}), others={other: 9})
    await member.on_partitions_assigned({TP})
    assert {tp: found.offset for tp, found in group.last.items()} == {TP: 7, other: 9}
    assert GroupStart.parse(group.last[other].metadata) == START


async def test_a_group_that_moved_on_meanwhile_is_waited_for(
    group: Group, member: Membership
) -> None:
    group.found = Positions(START, {TP: 7}, frozenset({TP}))
    group.answers = [Refused()]
    await member.on_partitions_assigned({TP})
    assert not member.assigned.is_set()
    assert member.failure == ""
    await member.on_partitions_assigned({TP})
    assert member.assigned.is_set()


async def test_a_dry_run_commits_nothing(group: Group) -> None:
    seeker: Any = group
    group.found = Positions(START, {TP: 7}, frozenset({TP}))
    member = Membership(
        seeker, Brokers(["broker:9092"]), seeker, Timing(), Part("kafka"), commits=False
    )
    await member.on_partitions_assigned({TP})
    give(member).settle(ends(8), NOW)
    await member.end()
    assert (group.seeks, group.commits) == ([7], [])


async def test_a_commit_that_fails_is_made_with_the_next(group: Group, member: Membership) -> None:
    await member.on_partitions_assigned({TP})
    group.answers = [KafkaConnectionError("gone")]
    give(member).settle(ends(8), NOW)
    await member.commit_positions()
    assert group.commits == []
    await member.commit_positions()
    assert group.commits == [8]
    await member.commit_positions()
    assert group.commits == [8]


async def test_what_was_settled_meanwhile_counts_for_more_than_what_failed(
    group: Group, member: Membership
) -> None:
    await member.on_partitions_assigned({TP})

    async def fail_late() -> None:
        give(member).settle(ends(9), NOW)
        raise KafkaConnectionError("gone")

    group.answers = [fail_late]
    give(member).settle(ends(8), NOW)
    await member.commit_positions()
    await member.commit_positions()
    assert group.commits == [9]


async def test_an_older_commit_never_overtakes_a_newer_one(
    group: Group, member: Membership
) -> None:
    await member.on_partitions_assigned({TP})
    answered = asyncio.Event()
    group.answers = [lambda: _wait(answered)]
    give(member).settle(ends(8), NOW)
    older = asyncio.create_task(member.commit_positions())
    await turn()
    give(member).settle(ends(9), NOW)
    newer = asyncio.create_task(member.commit_positions())
    await turn()
    answered.set()
    await asyncio.gather(older, newer)
    assert group.commits == [8, 9]


async def test_a_refused_commit_is_not_made_again(group: Group, member: Membership) -> None:
    await member.on_partitions_assigned({TP})
    group.answers = [Refused()]
    give(member).settle(ends(8), NOW)
    with capture_logs() as logs:
        await member.commit_positions()
    await member.commit_positions()
    assert group.commits == []
    assert [log["event"] for log in logs] == ["kafka-commit-rejected"]


async def test_a_commit_that_is_cancelled_is_made_at_the_end(
    group: Group, member: Membership
) -> None:
    await member.on_partitions_assigned({TP})
    group.answers = [lambda: _wait(asyncio.Event())]
    give(member).settle(ends(8), NOW)
    committing = asyncio.create_task(member.commit_positions())
    await turn()
    committing.cancel()
    await asyncio.wait({committing})
    assert committing.cancelled()
    await member.end()
    assert group.commits == [8]


async def test_a_cancellation_that_nobody_asked_for_ends_no_committer(
    group: Group, member: Membership
) -> None:
    """The library cancels its own futures when it loses a connection."""
    await member.on_partitions_assigned({TP})
    group.answers = [_raise_cancelled]
    give(member).settle(ends(8), NOW)
    await member.commit_positions()
    await member.commit_positions()
    assert group.commits == [8]


async def test_a_rebalance_waits_for_batches_in_work_and_commits_them(
    group: Group, member: Membership
) -> None:
    await member.on_partitions_assigned({TP})
    assignment = give(member)
    revoking = asyncio.create_task(member.on_partitions_revoked({TP}))
    await turn()
    assert not revoking.done()
    assert not member.assigned.is_set()
    assignment.settle(ends(8), NOW)
    await revoking
    assert group.commits == [8]
    assert member.assignment is not assignment


async def test_a_rebalance_does_not_wait_for_ever_and_then_commits_nothing_of_it(
    group: Group, member: Membership
) -> None:
    await member.on_partitions_assigned({TP})
    assignment = give(member)
    with capture_logs() as logs:
        await member.on_partitions_revoked({TP})
    assert logs[-1]["event"] == "kafka-drain-timeout"
    assignment.settle(ends(8), NOW)  # too late
    await member.commit_positions()
    assert group.commits == []


async def test_the_end_does_not_wait_for_a_rebalance_that_waits_for_us(group: Group) -> None:
    member = member_of(group, Timing(drain=2 * LIMIT))
    await member.on_partitions_assigned({TP})
    give(member)
    revoking = asyncio.create_task(member.on_partitions_revoked({TP}))
    await turn()
    await member.end()
    await asyncio.wait_for(revoking, LIMIT)


async def test_a_task_of_ours_that_ended_is_trouble(member: Membership) -> None:
    member.begin()
    assert member.failure == ""
    for task in member._tasks:
        task.cancel()
    await asyncio.wait(member._tasks)
    await turn()
    assert "kafka-committer ended" in member.failure
    await member.end()


class Stubborn:
    """A consumer whose stop ends as the real one's does when its broker is away."""

    def __init__(self, end: Answer) -> None:
        self.stop = end
        self.closed = asyncio.get_running_loop().create_future()
        self._client, self._coordinator, self._fetcher = self, None, None
        self._sync_task = asyncio.create_task(_wait(asyncio.Event()))
        self._conns = {1: self}

    def close(self) -> "asyncio.Future[None]":
        self.closed.set_result(None)
        return self.closed


async def test_a_stop_that_cancels_itself_is_finished_for_it() -> None:
    consumer = Stubborn(_raise_cancelled)
    await stop(consumer)
    assert consumer.closed.done()
    assert consumer._sync_task.cancelled()


async def test_a_stop_that_hangs_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.sources.kafka.client.STOP_WITHIN", 0.02)
    consumer = Stubborn(lambda: _wait(asyncio.Event()))
    await asyncio.wait_for(stop(consumer), 60)
    assert consumer.closed.done()


async def test_a_stop_that_is_really_cancelled_says_so() -> None:
    consumer = Stubborn(lambda: _wait(asyncio.Event()))
    stopping = asyncio.create_task(stop(consumer))
    await turn()
    stopping.cancel()
    await asyncio.wait({stopping})
    assert stopping.cancelled()
    assert consumer.closed.done()


def test_an_error_is_described_in_one_line_and_named_once() -> None:
    assert describe(KafkaConnectionError("a\n  b")) == "KafkaConnectionError: a b"
    assert describe(KafkaConnectionError()) == "KafkaConnectionError"
    assert describe(OSError("no route")) == "OSError: no route"
    assert describe(ValueError()) == "ValueError"
    assert describe(TimeoutError()) == "no answer in time"


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _raise_cancelled() -> None:
    raise asyncio.CancelledError
