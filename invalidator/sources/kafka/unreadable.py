"""Partitions that cannot be read: put aside so that the others flow, and tried again.

A batch that stays unreadable becomes a dead letter, and is passed over. We ask the brokers for its
bytes ourselves, since what the library raises may be a fault of its own.
"""

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from invalidator.sources.describe import describe
from invalidator.sources.kafka.assignment import Assignment
from invalidator.sources.kafka.batches import name_of, unreadable_slice
from invalidator.sources.kafka.client import MOST_PER_PARTITION
from invalidator.sources.kafka.private import fetch_raw
from invalidator.sources.kafka.raw_batch import BadBatch, find_unreadable

log = structlog.get_logger("invalidator")

ASIDE_FOR = 10.0  # seconds until a partition that could not be read is tried again
TRIES = 3  # with a wrong checksum, before it is passed over: another copy may be better
FETCH_WITHIN = 5.0


class UnreadablePartitions:
    """Looks after those of one assignment."""

    def __init__(self, consumer: AIOKafkaConsumer, assignment: Assignment) -> None:
        self.assignment = assignment
        self._consumer = consumer
        self._again_at = 0.0  # when those that were put aside are tried again
        self._tries: dict[TopicPartition, tuple[int, int]] = {}  # at which position, how many

    def try_again(self) -> None:
        """Read partitions that were put aside again, now and then."""
        now = asyncio.get_running_loop().time()
        if self.assignment.problems and now >= self._again_at:
            self._again_at = now + ASIDE_FOR
            self.assignment.retry()

    async def put_aside(self, tp: TopicPartition, error: Exception) -> None:
        """Put a partition aside, and pass over a batch that stays unreadable."""
        at = self._put_aside(tp, error)
        before, tries = self._tries.get(tp, (at, 0))
        tries = tries + 1 if before == at else 1
        self._tries[tp] = at, tries
        bad = await self._look(tp, at)
        if bad and (bad.intact or tries >= TRIES) and at == self.assignment.partitions[tp].next:
            self._pass_over(tp, bad)

    async def is_refused(self, tp: TopicPartition) -> bool:
        """Tell whether the brokers themselves have nothing for us there, and put it aside then."""
        try:
            await self._fetch(tp, self.assignment.partitions[tp].next)
        except (KafkaError, OSError, TimeoutError) as error:
            self._put_aside(tp, error)
            return True
        return False

    def _put_aside(self, tp: TopicPartition, error: Exception) -> int:
        at: int = self.assignment.partitions[tp].next
        reason = f"{name_of(tp)} cannot be read at {at}: {describe(error)}"
        self.assignment.set_problem(tp, reason)
        self._again_at = asyncio.get_running_loop().time() + ASIDE_FOR
        return at

    async def _look(self, tp: TopicPartition, at: int) -> BadBatch | None:
        try:
            data, end = await self._fetch(tp, at)
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("kafka-look", partition=name_of(tp), reason=describe(error))
            return None
        return find_unreadable(data, at, end)

    async def _fetch(self, tp: TopicPartition, at: int) -> tuple[bytes, int]:
        async with asyncio.timeout(FETCH_WITHIN):
            return await fetch_raw(self._consumer, tp, at, MOST_PER_PARTITION)

    def _pass_over(self, tp: TopicPartition, bad: BadBatch) -> None:
        log.error(
            "unreadable-batch",
            partition=name_of(tp),
            first=bad.first,
            last=bad.next - 1,
            reason=bad.reason,
        )
        self.assignment.pass_over(tp, bad.next, unreadable_slice(tp, bad))
        # its neighbours are on the same broken disk: once is enough for them
        self._tries[tp] = bad.next, TRIES - 1
