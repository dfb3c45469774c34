"""Partitions that cannot be read: found, put aside so that the others flow, and tried again.

A batch whose bytes nobody can read becomes a dead letter, and is passed over. Which bytes these
are we ask the brokers ourselves: what the library raises may as well be a fault of its own.
"""

import asyncio
from collections import deque

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from invalidator.sources.describe import describe
from invalidator.sources.kafka.assignment import Assignment
from invalidator.sources.kafka.batches import name_of, unreadable_slice
from invalidator.sources.kafka.client import MOST_PER_PARTITION
from invalidator.sources.kafka.private import Polled, fetch_raw, poll
from invalidator.sources.kafka.raw_batch import Unreadable, find_unreadable

log = structlog.get_logger("invalidator")

SUSPECT_MOMENT = 0.2  # seconds for one partition, while we look for the one that cannot be read
AGAIN_MOMENT = 1.0  # seconds for one that was put aside; the request under way may take half of it
ASIDE_FOR = 10.0  # seconds until a partition that could not be read is tried again
TRIES = 3  # with a wrong checksum, before it is passed over: another copy may be better
FETCH_WITHIN = 5.0


class UnreadablePartitions:
    """Looks after those of one assignment."""

    def __init__(self, consumer: AIOKafkaConsumer, assignment: Assignment) -> None:
        self.assignment = assignment
        self._consumer = consumer
        self._suspects: deque[TopicPartition] = deque()  # to be polled one by one
        self._again_at = 0.0  # when those that were put aside are suspects again
        self._tries: dict[TopicPartition, int] = {}  # at the present position

    def next_suspect(self) -> TopicPartition | None:
        """Return one that is to be polled alone, if there is any."""
        now = asyncio.get_running_loop().time()
        if (problems := self.assignment.problems) and now >= self._again_at:
            self._again_at = now + ASIDE_FOR
            self._suspects.extend(problems)
        while self._suspects:
            tp = self._suspects.popleft()
            if not self.assignment.partitions[tp].paused:
                return tp
        return None

    async def poll(self, tp: TopicPartition, limit: int) -> Polled:
        """Poll it alone: what raises is to blame, once all records before it were given."""
        if tp not in self.assignment.problems:
            return await poll(self._consumer, limit, SUSPECT_MOMENT, [tp])
        self._consumer.resume(tp)
        polled = await poll(self._consumer, limit, AGAIN_MOMENT, [tp])
        self.assignment.pause_again()
        if polled:
            self.assignment.set_problem(tp, "")
            self._tries.pop(tp, None)
        return polled

    async def blame(self, tp: TopicPartition | None, error: Exception) -> None:
        """Note an error of this partition; of one that is still to be found if it is None."""
        if tp is None:
            readable = self.assignment.partitions.keys() - self.assignment.problems.keys()
            self._suspects = deque(sorted(readable))
            return
        self._put_aside(tp, error)
        self._tries[tp] = self._tries.get(tp, 0) + 1
        bad = await self._look(tp)
        if bad and (bad.intact or self._tries[tp] >= TRIES):
            self._pass_over(tp, bad)

    async def is_refused(self, tp: TopicPartition) -> bool:
        """Tell whether the brokers themselves have nothing for us there, and put it aside then."""
        try:
            await self._fetch(tp)
        except (KafkaError, OSError, TimeoutError) as error:
            self._put_aside(tp, error)
            return True
        return False

    def _put_aside(self, tp: TopicPartition, error: BaseException) -> None:
        self._again_at = asyncio.get_running_loop().time() + ASIDE_FOR
        at = self.assignment.partitions[tp].next
        reason = f"{name_of(tp)} cannot be read at {at}: {describe(error)}"
        self.assignment.pause_again()
        self.assignment.set_problem(tp, reason)

    async def _look(self, tp: TopicPartition) -> Unreadable | None:
        at = self.assignment.partitions[tp].next
        try:
            data, end = await self._fetch(tp)
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("kafka-look", partition=name_of(tp), reason=describe(error))
            return None
        if at != self.assignment.partitions[tp].next:
            return None  # it went back meanwhile
        return find_unreadable(data, at, end)

    async def _fetch(self, tp: TopicPartition) -> tuple[bytes, int]:
        at = self.assignment.partitions[tp].next
        async with asyncio.timeout(FETCH_WITHIN):
            return await fetch_raw(self._consumer, tp, at, MOST_PER_PARTITION)

    def _pass_over(self, tp: TopicPartition, bad: Unreadable) -> None:
        log.error(
            "unreadable-batch",
            partition=name_of(tp),
            first=bad.first,
            last=bad.next - 1,
            reason=bad.reason,
        )
        self.assignment.pass_over(tp, bad.next, unreadable_slice(tp, bad))
        # its neighbours are on the same broken disk: once is enough for them
        self._tries[tp] = TRIES - 1
