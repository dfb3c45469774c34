"""When a partition counts as standing still."""

from aiokafka import TopicPartition

from invalidator.sources.kafka.client import Progress

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)


def test_a_partition_that_has_more_and_does_not_move_stands_still_after_a_while() -> None:
    progress = Progress(60.0)
    assert progress.stalled(0, {A: 5, B: 5}, {A: 9, B: 9}) == []
    assert progress.stalled(59, {A: 5, B: 6}, {A: 9, B: 9}) == []
    assert progress.stalled(61, {A: 5, B: 6}, {A: 9, B: 9}) == [A]
    assert progress.stalled(62, {A: 6, B: 6}, {A: 9, B: 9}) == []


def test_one_that_has_no_more_waits_as_long_as_it_likes() -> None:
    progress = Progress(60.0)
    for now in (0, 100, 200):
        assert progress.stalled(now, {A: 9}, {A: 9}) == []
    assert progress.stalled(300, {A: 9}, {A: 10}) == []
    assert progress.stalled(361, {A: 9}, {A: 10}) == [A]


def test_while_nobody_reads_nothing_stands_still() -> None:
    progress = Progress(60.0)
    progress.stalled(0, {A: 5}, {A: 9})
    progress.stalled(30, {}, {})
    assert progress.stalled(61, {A: 5}, {A: 9}) == []
