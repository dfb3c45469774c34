"""What one assignment of partitions reads and commits, also after it went back."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from aiokafka import TopicPartition

from invalidator.model import Slice
from invalidator.sources.kafka.assignment import Assignment, End, Taken, partitions_of
from invalidator.sources.kafka.batches import batch_of
from invalidator.sources.kafka.offsets import GroupStart, Note, Positions

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
OTHER = TopicPartition("items", 0)
START = GroupStart(1, {"orders": 2})
NOW = 1000.0
WINDOW = 300.0


class Servers:
    """Cache servers of a test."""

    reason = "a test says so"
    window = WINDOW

    def __init__(self, identity: str) -> None:
        self.identity = identity


class Client:
    """What the client was told."""

    def __init__(self) -> None:
        self.seeks: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.seeks[tp] = offset

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused.difference_update(partitions)


def assigned(*partitions: TopicPartition, note: Note | None = None) -> Assignment:
    """Partitions that were committed at 10, before the servers were "new"."""
    notes = dict.fromkeys(partitions, note) if note else {}
    found = Positions(START, dict.fromkeys(partitions, 10), frozenset(), notes)
    return Assignment(1, START, partitions_of(found, NOW, Servers("new")))


@pytest.fixture
def assignment() -> Assignment:
    return assigned(A, B, note=Note("old", 700.0))


def records(first: int, last: int) -> list[Any]:
    return [
        SimpleNamespace(offset=offset, key=None, value=b"", headers=(), timestamp=0)
        for offset in range(first, last + 1)
    ]


def read(assignment: Assignment, until: int, tp: TopicPartition = A) -> dict[Any, End]:
    """Read records; return where their batch ends."""
    taken: dict[TopicPartition, Taken] = {}
    first = assignment.partitions[tp].next
    steered(assignment)
    assignment.take({tp: records(first, until - 1)}, taken)
    assignment.give()
    return {tp: End(until, part.round, 900.0) for tp, part in taken.items()}


def steered(assignment: Assignment) -> Client:
    client: Any = Client()
    assignment.steer(client)
    return client  # type: ignore[no-any-return]


def committed(assignment: Assignment, now: float = NOW) -> dict[TopicPartition, tuple[int, str]]:
    uncommitted, assignment.to_commit = assignment.to_commit, set()
    found = assignment.commits(uncommitted, now)
    return {tp: (said.offset, Note.parse(said.metadata).identity) for tp, said in found.items()}


def go_back(assignment: Assignment, identity: str, start: int) -> dict[Any, tuple[int, int]]:
    since = assignment.compare(identity, NOW)
    return assignment.read_again(identity, since, dict.fromkeys(since, start))


# --- after the identity of the cache servers changed ------------------------------------------


def test_it_goes_back_and_commits_nothing_of_what_it_reads_again(assignment: Assignment) -> None:
    before = read(assignment, 20)
    assert go_back(assignment, "new", 5) == {A: (5, 20), B: (5, 10)}
    assert steered(assignment).seeks == {A: 5, B: 5}
    assignment.settle(before, NOW)
    assert committed(assignment) == {}, "it was read before: it is read again"
    assignment.settle(read(assignment, 8), NOW)
    assert committed(assignment) == {}, "no commit goes backwards"
    assignment.settle(read(assignment, 15), NOW)
    assert committed(assignment) == {A: (15, "old")}, "a crash now would read again"
    assignment.settle(read(assignment, 20), NOW)
    assert committed(assignment) == {A: (20, "new")}, "a commit says that it is over"


def test_what_is_stored_says_since_when_until_all_is_read_again(assignment: Assignment) -> None:
    assert assignment.compare("new", NOW) == {A: 700.0, B: 700.0}
    assignment.read_again("new", {A: 700.0, B: 700.0}, {A: 5, B: 5})
    assert Note.parse(assignment.commits([A], NOW + 50)[A].metadata) == Note("old", 700.0)
    assert assignment.compare("newer", NOW + 50) == {A: 700.0, B: 700.0}
    assert assignment.compare("new", NOW + 50) == {}
    assert Note.parse(assignment.commits([A], NOW + 50)[A].metadata) == Note("old", 700.0)
    assignment.settle(read(assignment, 10), NOW + 100)
    assert Note.parse(assignment.commits([A], NOW + 100)[A].metadata) == Note("new", 600.0), (
        "events of 900 were settled at 1100"
    )


def test_what_others_settled_counts_as_long_as_it_may_be_lost() -> None:
    assignment = assigned(A, note=Note("old", 400.0))  # they settled events that were 300 s old
    assert assignment.compare("old", NOW) == {}
    assert assignment.compare("new", NOW + 60) == {A: 460.0}
    ends = {tp: End(e.offset, e.round, NOW + 400) for tp, e in read(assignment, 12).items()}
    assignment.settle(ends, NOW + 400)
    assert assignment.compare("new", NOW + 400) == {A: NOW + 400 - WINDOW}


def test_where_nothing_is_read_again_the_commits_say_so(assignment: Assignment) -> None:
    assert go_back(assignment, "new", 12) == {}
    assert committed(assignment) == {A: (10, "new"), B: (10, "new")}


def test_what_is_read_and_not_settled_is_read_again_whatever_its_time(
    assignment: Assignment,
) -> None:
    read(assignment, 20)
    assert go_back(assignment, "new", 15) == {A: (10, 20)}


def test_without_a_stored_identity_the_present_one_is_adopted() -> None:
    assignment = assigned(A)
    assert assignment.compare("new", NOW) == {}
    assignment.settle(read(assignment, 12), NOW)
    assert committed(assignment) == {A: (12, "new")}


def test_an_instance_that_watches_no_servers_stores_none() -> None:
    found = Positions(START, {A: 10}, frozenset(), {A: Note("old", 700.0)})
    assignment = Assignment(1, START, partitions_of(found, NOW))
    assignment.settle(read(assignment, 12), NOW)
    assert committed(assignment) == {A: (12, "")}


def test_nobody_goes_back_beyond_where_a_partition_began() -> None:
    found = Positions(START, {A: 10}, frozenset({A}))
    assignment = Assignment(1, START, partitions_of(found, NOW, Servers("old")))
    assignment.settle(read(assignment, 12), NOW)
    assert go_back(assignment, "new", 3) == {A: (10, 12)}


def test_a_second_failover_while_records_are_read_again_starts_over(
    assignment: Assignment,
) -> None:
    read(assignment, 20)
    go_back(assignment, "new", 5)
    assignment.settle(read(assignment, 8), NOW)
    assert go_back(assignment, "newer", 5) == {A: (5, 20), B: (5, 10)}
    assignment.settle(read(assignment, 20), NOW)
    assert committed(assignment) == {A: (20, "newer")}


def test_what_was_passed_over_is_met_again(assignment: Assignment) -> None:
    assignment.pass_over(A, 12)
    assignment.set_problem(B, "cannot be read")
    go_back(assignment, "new", 5)
    assert not assignment.passed
    assert assignment.problems == {}


# --- logs that no longer have our position ------------------------------------------------------


def start_over(assignment: Assignment, beginning: int) -> dict[TopicPartition, End]:
    assignment.start_over(A, beginning)
    assignment.give()
    ends, _ = assignment.take_passed()
    return ends


def test_records_that_expired_are_passed_over_and_what_was_read_before_counts(
    assignment: Assignment,
) -> None:
    before = read(assignment, 20)
    expired = start_over(assignment, 50)
    assignment.settle(before, NOW)
    assert committed(assignment) == {A: (20, "old")}
    assignment.settle(expired, NOW)
    assert committed(assignment) == {A: (50, "old")}


@pytest.mark.parametrize("beginning", [2, 10])
def test_a_log_that_was_cut_is_committed_from_its_beginning(
    assignment: Assignment, beginning: int
) -> None:
    go_back(assignment, "new", 12)
    before = read(assignment, 20) | read(assignment, 12, B)
    committed(assignment)
    cut = start_over(assignment, beginning)
    assignment.settle(before, NOW)
    assert committed(assignment) == {B: (12, "new")}
    assignment.settle(cut, NOW)
    assert committed(assignment) == {A: (beginning, "new")}
    assignment.settle(read(assignment, 14), NOW)
    assert committed(assignment) == {A: (14, "new")}
    assert go_back(assignment, "newer", 0)[A] == (beginning, 14), "never into the other log"


def test_a_log_that_was_cut_while_it_is_read_again_is_new_to_the_servers(
    assignment: Assignment,
) -> None:
    go_back(assignment, "new", 5)
    assignment.settle(start_over(assignment, 2), NOW)
    assert committed(assignment) == {A: (2, "new")}


def test_records_that_expire_while_they_are_read_again_take_no_commit_back(
    assignment: Assignment,
) -> None:
    go_back(assignment, "new", 5)
    assignment.settle(start_over(assignment, 8), NOW)
    assert committed(assignment) == {}
    assignment.settle(read(assignment, 10), NOW)
    assert committed(assignment) == {A: (10, "new")}


# --- paused topics --------------------------------------------------------------------------


def test_what_a_paused_topic_has_unsettled_is_read_again_when_it_is_resumed() -> None:
    assignment = assigned(A, OTHER)
    before = read(assignment, 20) | read(assignment, 20, OTHER)
    assignment.pause({"orders"})
    assert steered(assignment).paused == {A}
    assignment.settle(before, NOW)
    assert committed(assignment) == {OTHER: (20, "")}
    assignment.pause(set())
    client: Any = Client()
    client.paused = {A}
    assignment.steer(client)
    assert client.paused == set()
    assert assignment.partitions[A].next == 10
    assignment.settle(read(assignment, 12), NOW)
    assert committed(assignment) == {A: (12, "")}


def test_what_comes_while_a_topic_is_paused_is_left_out() -> None:
    assignment = assigned(A)
    taken: dict[TopicPartition, Taken] = {}
    steered(assignment)
    assignment.take({A: records(10, 12)}, taken)
    assignment.pause({"orders"})
    assignment.take({A: records(13, 14)}, taken)
    assert batch_of(assignment, taken) is None
    assignment.pause(set())
    assignment.take({A: records(13, 14)}, taken)  # the client was not told yet
    assert steered(assignment).seeks == {A: 10}
    assignment.take({A: records(10, 11)}, taken)
    batch: Any = batch_of(assignment, taken)
    assert (batch.events, batch.ends.ends[A].offset) == (2, 12)


def test_a_rebalance_waits_for_every_batch_that_was_given_out() -> None:
    assignment = assigned(A)
    first, second = read(assignment, 12), read(assignment, 14)
    assignment.settle(first, NOW)
    assert not assignment.drained.is_set()
    assignment.settle(second, NOW)
    assert assignment.drained.is_set()


# --- records that are none --------------------------------------------------------------------


def test_the_ends_of_transactions_are_passed_once_all_before_is_settled() -> None:
    assignment = assigned(A)
    ends = read(assignment, 12)
    assignment.skip({A: 13})
    assert committed(assignment) == {}
    assignment.settle(ends, NOW)
    assignment.skip({A: 13, B: 4})
    assert committed(assignment) == {A: (13, "")}
    assignment.skip({A: 13})
    assert committed(assignment) == {}


def test_a_client_that_may_have_dropped_records_does_not_move_positions() -> None:
    assignment = assigned(A)
    assignment.seek_again([A])
    assignment.skip({A: 13})
    assert committed(assignment) == {}


# --- partitions that cannot be read -----------------------------------------------------------


def test_a_partition_that_cannot_be_read_is_paused_until_it_is_passed_over() -> None:
    assignment = assigned(A)
    assignment.set_problem(A, "a checksum")
    assert steered(assignment).paused == {A}
    letter = Slice("orders", [b""], Mock())
    assignment.pass_over(A, 15, letter)
    assert assignment.stopped == frozenset()
    ends, rejected = assignment.take_passed()
    assert (ends, rejected) == ({A: End(15, 0)}, [letter])
    assert not assignment.passed


def test_a_partition_that_is_tried_again_can_be_read_once_records_come() -> None:
    assignment = assigned(A)
    assignment.set_problem(A, "a checksum")
    assignment.retry()
    assert steered(assignment).paused == set()
    assert assignment.problems == {A: "a checksum"}
    assignment.set_problem(A, "a checksum again")
    assert steered(assignment).paused == {A}
    assignment.retry()
    read(assignment, 12)
    assert assignment.problems == {}
