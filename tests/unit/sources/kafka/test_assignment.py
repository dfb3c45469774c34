"""What one assignment of partitions commits, also after it went back."""

import math

import pytest
from aiokafka import TopicPartition

from invalidator.sources.kafka.assignment import Epoch
from invalidator.sources.kafka.offsets import Birth, Found, Past

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
BIRTH = Birth(1, {"orders": 2})
OLD = "old"


@pytest.fixture
def epoch() -> Epoch:
    """Of two partitions that were committed at 10, in an era of which we know the end at 100."""
    past = Past(OLD, ((0.0, 0), (100.0, 5), (200.0, 10)))
    found = Found(BIRTH, {A: 10, B: 10}, frozenset(), {A: past, B: past})
    return Epoch(1, BIRTH, found.positions, found.stands("", 3600.0, 300.0))


def read(epoch: Epoch, until: int) -> int:
    """The round it was read in."""
    epoch.give()
    epoch.next[A] = until
    return epoch.round


def committed(epoch: Epoch) -> dict[TopicPartition, tuple[int, str]]:
    settled, epoch.settled = epoch.settled, {}
    found = epoch.commits(settled)
    return {tp: (said.offset, Past.parse(said.metadata).era) for tp, said in found.items()}


def test_it_goes_back_to_where_it_stood_and_commits_nothing_of_what_it_reads_again(
    epoch: Epoch,
) -> None:
    before = read(epoch, 20)
    assert epoch.behind("new") == [A, B]
    backs = epoch.go_back({OLD: 150.0}, "new")
    assert {tp: (back.position, back.goal) for tp, back in backs.items()} == {
        A: (5, 20),
        B: (5, 10),
    }
    assert epoch.next == {A: 5, B: 5}
    assert committed(epoch) == {}
    epoch.settle({A: 20}, 301.0, before)
    assert committed(epoch) == {A: (20, OLD)}, "it was read before: it may be forgotten"
    epoch.settle({A: 8}, 302.0, read(epoch, 8))
    assert committed(epoch) == {}, "no commit goes backwards"
    epoch.settle({A: 20}, 303.0, read(epoch, 20))
    assert committed(epoch) == {A: (20, "new")}, "a commit says that it is over"
    epoch.settle({A: 25}, 304.0, read(epoch, 25))
    assert committed(epoch) == {A: (25, "new")}


def test_where_nothing_is_forgotten_the_commits_say_so_at_once(epoch: Epoch) -> None:
    assert epoch.go_back({OLD: math.inf}, "new") == {}
    assert committed(epoch) == {A: (10, "new"), B: (10, "new")}
    assert epoch.next == {A: 10, B: 10}


def test_what_was_passed_over_and_lies_ahead_again_is_met_again(epoch: Epoch) -> None:
    epoch.passed[A] = epoch.next[A] = 12
    epoch.aside[B] = "cannot be read"
    epoch.go_back({OLD: 150.0}, "new")
    assert (epoch.passed, epoch.aside) == ({}, {})


def test_a_way_back_that_ends_while_another_era_is_asked_for_stands_in_its_own_era(
    epoch: Epoch,
) -> None:
    epoch.go_back({OLD: 150.0}, "new")
    last = read(epoch, 10)
    assert epoch.eras_behind("newer") == {OLD}
    epoch.settle({A: 10}, 303.0, last)  # while the caches are asked when that era ended
    assert epoch.eras_behind("newer") == {OLD, "new"}, "what was asked for does not do"
    assert {*epoch.go_back({OLD: 150.0, "new": 400.0}, "newer")} == {B}
    assert epoch.eras_behind("newer") == set()


def test_a_log_that_was_cut_is_committed_from_its_beginning_and_nothing_of_before_is(
    epoch: Epoch,
) -> None:
    before = read(epoch, 20)
    epoch.go_back({OLD: math.inf}, "new")
    assert committed(epoch) == {A: (10, "new"), B: (10, "new")}
    epoch.start_over(A, 2)
    assert (epoch.next[A], epoch.passed) == (2, {A: 2})
    epoch.settle({A: 20, B: 12}, 301.0, before)
    assert committed(epoch) == {B: (12, "new")}
    epoch.settle({A: 2}, 302.0, read(epoch, 2))
    assert committed(epoch) == {A: (2, "new")}
    epoch.settle({A: 4}, 303.0, read(epoch, 4))
    assert committed(epoch) == {A: (4, "new")}
    backs = epoch.go_back({"new": 0.0}, "newer")
    assert (backs[A].position, backs[A].goal) == (2, 4), "never back into the other log"


def test_records_that_expired_are_passed_over_and_what_was_read_before_still_counts(
    epoch: Epoch,
) -> None:
    before = read(epoch, 20)
    epoch.start_over(A, 50)
    epoch.settle({A: 20}, 301.0, before)
    epoch.settle({A: 50}, 302.0, read(epoch, 50))
    assert committed(epoch) == {A: (50, OLD)}


def test_a_log_that_was_cut_before_anything_was_settled_is_not_committed_beyond_its_end(
    epoch: Epoch,
) -> None:
    before = read(epoch, 20)
    epoch.start_over(A, 10)
    epoch.settle({A: 20}, 301.0, before)
    assert committed(epoch) == {}
    epoch.settle({A: 12}, 302.0, read(epoch, 12))
    assert committed(epoch) == {A: (12, OLD)}


def test_a_log_that_was_cut_leaves_the_way_back_of_others_alone(epoch: Epoch) -> None:
    epoch.go_back({OLD: 150.0}, "new")
    last = epoch.round
    epoch.give()
    epoch.start_over(A, 0)
    epoch.settle({B: 10}, 301.0, last)
    assert committed(epoch) == {B: (10, "new")}, "it was read again to where it had been"


def test_records_that_expire_on_the_way_back_take_no_commit_back(epoch: Epoch) -> None:
    epoch.go_back({OLD: 150.0}, "new")
    epoch.start_over(A, 8)
    epoch.settle({A: 8}, 301.0, read(epoch, 8))
    assert committed(epoch) == {}
    epoch.settle({A: 10}, 302.0, read(epoch, 10))
    assert committed(epoch) == {A: (10, "new")}
