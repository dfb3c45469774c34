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
from invalidator.sources.gap import Gaps
from invalidator.sources.kafka.assignment import Epoch
from invalidator.sources.kafka.batches import name_of, refused_slice
from invalidator.sources.kafka.client import fetch_raw, poll
from invalidator.sources.kafka.fetch import Polled
from invalidator.sources.kafka.membership import Membership
from invalidator.sources.kafka.raw_batch import Unreadable, find_unreadable

log = structlog.get_logger("invalidator")

SUSPECT_MOMENT = 0.2  # seconds for one partition, while we look for the one that cannot be read
AGAIN_MOMENT = 1.0  # seconds for one that was put aside; the request under way may take half of it
ASIDE_FOR = 10.0  # seconds until a partition that could not be read is tried again
TRIES = 3  # with a wrong checksum, before it is passed over: another copy may be better
FETCH_WITHIN = 5.0
BEGINNING_WITHIN = 10.0


class Aside:
    """Belongs to one consumer."""

    def __init__(self, consumer: AIOKafkaConsumer, member: Membership) -> None:
        self._consumer = consumer
        self._member = member
        self._epoch = member.epoch
        self._suspects: deque[TopicPartition] = deque()  # to be polled one by one
        self._again_at = 0.0  # when those that were put aside are suspects again
        self._tries: dict[TopicPartition, int] = {}  # at the position of now

    def next(self) -> TopicPartition | None:
        """One that is to be polled alone, if there is any."""
        return self._suspects.popleft() if self._of(self._member.epoch) else None

    def _of(self, epoch: Epoch) -> deque[TopicPartition]:
        """What was suspected in another assignment may not even be ours."""
        if self._epoch is not epoch:
            self._epoch = epoch
            self._suspects.clear()
            self._tries.clear()
        return self._suspects

    def try_again(self) -> None:
        """Now and then."""
        aside = self._member.epoch.aside
        now = asyncio.get_running_loop().time()
        if aside and now >= self._again_at:
            self._again_at = now + ASIDE_FOR
            self._of(self._member.epoch).extend(aside)
            self._consumer.resume(*aside)

    async def poll(self, tp: TopicPartition, limit: int) -> Polled:
        """Alone: what raises is to blame, once all that lies before the bad one was given."""
        wait = AGAIN_MOMENT if tp in self._member.epoch.aside else SUSPECT_MOMENT
        return await poll(self._consumer, limit, wait, [tp])

    def is_over(self, tp: TopicPartition, polled: Polled) -> bool:
        """Whether a partition that was put aside gives records again."""
        if polled:
            del self._epoch.aside[tp]
            self._tries.pop(tp, None)
        else:
            self._consumer.pause(tp)
        return bool(polled)

    async def blame(self, tp: TopicPartition | None, error: Exception) -> None:
        """Something cannot be read: in this partition, or in one that is still to be found."""
        epoch = self._member.epoch
        suspects = self._of(epoch)
        if tp is None:
            suspects.clear()
            suspects.extend(sorted(epoch.next.keys() - epoch.aside.keys()))
            return
        self._put(tp, describe(error))
        self._tries[tp] = self._tries.get(tp, 0) + 1
        bad = await self._look(tp)
        if bad and epoch is self._member.epoch and (bad.intact or self._tries[tp] >= TRIES):
            self._pass_over(tp, bad)
        self._member.say_ready()

    async def is_refused(self, tp: TopicPartition) -> bool:
        """Whether the brokers themselves have nothing for us there. Then it is put aside."""
        try:
            await self._fetch(tp)
        except (KafkaError, OSError, TimeoutError) as error:
            self._put(tp, describe(error))
            self._member.say_ready()
            return True
        return False

    def _put(self, tp: TopicPartition, reason: str) -> None:
        epoch = self._member.epoch
        self._consumer.pause(tp)
        self._again_at = asyncio.get_running_loop().time() + ASIDE_FOR
        epoch.aside[tp] = f"{name_of(tp)} cannot be read at {epoch.next[tp]}: {reason}"

    async def _look(self, tp: TopicPartition) -> Unreadable | None:
        at = self._member.epoch.next[tp]
        try:
            data, end = await self._fetch(tp)
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("kafka-look", partition=name_of(tp), reason=describe(error))
            return None
        return find_unreadable(data, at, end)

    async def _fetch(self, tp: TopicPartition) -> tuple[bytes, int]:
        async with asyncio.timeout(FETCH_WITHIN):
            return await fetch_raw(self._consumer, tp, self._member.epoch.next[tp])

    def _pass_over(self, tp: TopicPartition, bad: Unreadable) -> None:
        epoch = self._member.epoch
        log.error(
            "unreadable-batch",
            partition=name_of(tp),
            first=bad.first,
            last=bad.next - 1,
            reason=bad.reason,
        )
        epoch.refused.append(refused_slice(tp, bad))
        epoch.passed[tp] = epoch.next[tp] = bad.next
        del epoch.aside[tp]
        # its neighbours lie on the same broken disk: once is enough for them
        self._tries[tp] = TRIES - 1
        self._consumer.seek(tp, bad.next)
        self._consumer.resume(tp)

    async def start_over(self, lost: dict[TopicPartition, int], gaps: Gaps) -> None:
        """Positions that the brokers no longer know: what was there is lost, and we say so."""
        epoch = self._member.epoch
        ours = {tp: at for tp, at in lost.items() if epoch.next.get(tp) == at}
        try:
            async with asyncio.timeout(BEGINNING_WITHIN):
                beginnings = await self._consumer.beginning_offsets(list(ours))
        except Exception as error:  # noqa: BLE001 - the next poll says it again
            log.warning("position-lost", partitions=[*map(name_of, ours)], reason=describe(error))
            return
        if epoch is not self._member.epoch:
            return
        for tp, beginning in beginnings.items():
            gaps.tell(
                "position lost",
                [tp.topic],
                events=max(0, beginning - ours[tp]) or None,
                partition=tp.partition,
                position=ours[tp],
                goes_on=beginning,
            )
            epoch.start_over(tp, beginning)
            self._consumer.seek(tp, beginning)
