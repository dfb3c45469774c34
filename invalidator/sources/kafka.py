"""Kafka: at least once, by positions that are committed only after a batch is settled.

The library's own notion of "consumed" is not used: it moves on past records that an exception
made it drop. We keep the next offset of each partition ourselves, and seek to it after any error.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from invalidator import metrics
from invalidator.errors import Unavailable
from invalidator.health import Part
from invalidator.model import Batch, Record, Slice
from invalidator.sources.consumer import (
    Polled,
    Timing,
    build,
    describe,
    poll,
    show_life,
    start,
    stop,
    trouble,
)
from invalidator.sources.membership import Epoch, Membership
from invalidator.sources.positions import GroupPositions, Start

log = structlog.get_logger("invalidator")

MOMENT = 0.3  # seconds that an empty read waits
SUSPECT_MOMENT = 0.2  # seconds for one partition, while we look for the one that cannot be read
JOIN_WITHIN = 90.0  # seconds; another member's drain comes first
BEGINNING_WITHIN = 10.0
USUAL = Timing()
HEADERS = attrgetter("headers")
AGAIN_MOMENT = 1.0  # seconds for one that was put aside; the request under way may take half of it
ASIDE_FOR = 10.0  # seconds until a partition that could not be read is tried again


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a Kafka batch ends."""

    epoch: Epoch  # the assignment it was read under
    offsets: dict[TopicPartition, int]  # the next offset of each partition; never a count


class KafkaSource:
    """One member of a consumer group."""

    name = "kafka"

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        topics: Sequence[str],
        group_id: str,
        *,
        start: Start,
        part: Part,
        max_wait: float,
        timing: Timing = USUAL,
        commits: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bootstrap = ",".join(bootstrap_servers)
        self._topics = topics
        self._group = group_id
        self._part = part
        self._max_wait = max_wait
        self._timing = timing
        self._commits = commits
        self._positions = GroupPositions(self._bootstrap, group_id, topics, start, clock)
        self._consumer: AIOKafkaConsumer | None = None
        self._member: Membership | None = None
        self._stopped = False
        self._held = False  # paused, because the work in flight is at its bound
        self._suspects: deque[TopicPartition] = deque()  # after an error: to be polled one by one
        self._try_again_at = 0.0  # when partitions that were put aside are suspects again

    # --- the protocol -------------------------------------------------------------------

    async def open(self) -> None:
        await self.close()
        await self._positions.await_topics()
        self._stopped = self._held = False
        self._suspects.clear()
        self._consumer = build(self._bootstrap, self._group, self._timing)
        try:
            await start(self._consumer)
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._unavailable(describe(error)) from error
        self._member = Membership(
            self._consumer,
            self._bootstrap,
            self._positions,
            self._timing,
            self._part,
            commits=self._commits,
        )
        self._consumer.subscribe(topics=list(self._topics), listener=self._member)
        self._member.begin()
        await self._join()

    async def read(self, limit: int) -> Batch | None:
        member = self._check()
        if self._stopped or not await self._is_assigned(MOMENT):
            return None
        self._let_flow()
        epoch = member.epoch
        polled = await self._poll(epoch, limit, MOMENT)
        if polled and self._max_wait:
            await self._fill_up(epoch, polled, limit)
        if not polled or epoch is not member.epoch:
            return None  # after a rebalance, what we had is read again by its new owner
        member.busy = True
        return self._batch(epoch, polled)

    async def settle(self, batch: Batch) -> None:
        ends = batch.ends
        assert isinstance(ends, Ends)
        if self._member and ends.epoch is self._member.epoch:
            ends.epoch.settle(ends.offsets)

    async def keep_alive(self) -> None:
        """Polling tells the group that we live; paused partitions give no records meanwhile."""
        if not self._consumer or not self._member or not await self._is_assigned(0):
            return
        self._held = True
        self._consumer.pause(*self._consumer.assignment())
        try:
            gone = await poll(self._consumer, 1, 0)  # it was not paused in time
        except Exception as error:  # noqa: BLE001 - the next read meets it again, and tells
            log.debug("kafka-keep-alive", reason=describe(error))
            gone = {}
        self._seek_to_own(*gone)

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        """Commit, leave the group, close: bounded, and quiet when the brokers are away."""
        if self._member:
            await self._member.end()
        if self._consumer:
            await stop(self._consumer)
        self._member = self._consumer = None

    # --- the group ------------------------------------------------------------------------

    async def _join(self) -> None:
        """Until the group has given us partitions, or none because others have them all."""
        deadline = asyncio.get_running_loop().time() + JOIN_WITHIN
        while not await self._is_assigned(MOMENT):
            self._check()
            if asyncio.get_running_loop().time() > deadline:
                raise self._unavailable(f"group {self._group!r} does not let us in")
        self._check()

    async def _is_assigned(self, seconds: float) -> bool:
        assert self._member
        if not self._member.assigned.is_set():
            show_life(self._consumer)  # a poll would wait for the end of the rebalance
            try:
                async with asyncio.timeout(seconds):
                    await self._member.assigned.wait()
            except TimeoutError:
                return False
        return True

    def _check(self) -> Membership:
        if self._member is None or self._consumer is None:
            raise self._unavailable("not connected")
        if reason := self._member.trouble() or trouble(self._consumer):
            raise self._unavailable(reason)
        return self._member

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(self.name, f"{self._bootstrap}: {reason}")

    # --- reading ------------------------------------------------------------------------

    async def _poll(self, epoch: Epoch, limit: int, seconds: float) -> Polled:
        """What the library has for our positions. It may raise anything: a codec, a checksum."""
        assert self._consumer
        assert self._member
        one = self._suspects.popleft() if self._suspects else None
        try:
            if one:
                polled = await self._poll_up_to_the_bad(one, limit)
            else:
                polled = await poll(self._consumer, limit, seconds)
        except OffsetOutOfRangeError as error:
            await self._start_over(error.args[0])
            return {}
        except Exception as error:  # noqa: BLE001 - whatever it was, records may have been dropped
            if epoch is self._member.epoch:
                self._suspect(one, error)
            return {}
        if epoch is not self._member.epoch:  # a rebalance came while we waited
            self._seek_to_own(*polled)
            return {}
        if one in epoch.aside and not self._can_be_read(one, polled):
            return {}
        if polled:
            self._member.say_ready()
        return self._take(epoch, polled)

    def _take(self, epoch: Epoch, polled: Polled) -> Polled:
        """Move our positions on; leave out what was fetched before our seek took effect."""
        assert self._consumer
        taken = {}
        for tp, records in polled.items():
            after = epoch.next[tp]
            if records[0].offset < after:
                self._consumer.seek(tp, after)
                continue
            taken[tp] = records
            epoch.next[tp] = records[-1].offset + 1
        return taken

    async def _fill_up(self, epoch: Epoch, polled: Polled, limit: int) -> None:
        """Give a batch that is not full a moment to fill."""
        assert self._member
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._max_wait
        while (left := deadline - loop.time()) > 0 and (room := limit - _count(polled)) > 0:
            if self._stopped or not await self._is_assigned(0) or epoch is not self._member.epoch:
                return
            for tp, records in (await self._poll(epoch, room, min(left, MOMENT))).items():
                polled[tp] = polled.get(tp, []) + records

    def _batch(self, epoch: Epoch, polled: Polled) -> Batch:
        epoch.give()
        slices = [self._slice(tp, records) for tp, records in polled.items()]
        ends = Ends(epoch, {tp: records[-1].offset + 1 for tp, records in polled.items()})
        return Batch(self.name, slices, _count(polled), sum(map(_size, slices)), ends)

    def _slice(self, tp: TopicPartition, records: list[ConsumerRecord]) -> Slice:
        def record(index: int) -> Record:
            r = records[index]
            return Record(
                self.name,
                tp.topic,
                f"{tp.partition}@{r.offset}",
                r.value,
                key=r.key,
                headers=tuple(_filled(r.headers)),
                time_ms=r.timestamp if r.timestamp >= 0 else None,  # -1: the producer gave none
            )

        named = any(map(HEADERS, records))  # most topics have none: no list is made for these
        headers = [_filled(r.headers) for r in records] if named else ()
        return Slice(tp.topic, [r.value for r in records], record, headers)

    def _let_flow(self) -> None:
        """Resume what keep_alive paused, and now and then what could not be read."""
        assert self._consumer
        assert self._member
        aside = self._member.epoch.aside
        if self._held:
            self._held = False
            self._consumer.resume(*(self._consumer.assignment() - aside.keys()))
        now = asyncio.get_running_loop().time()
        if aside and now >= self._try_again_at:
            self._try_again_at = now + ASIDE_FOR
            self._suspects.extend(aside)
            self._consumer.resume(*aside)

    # --- after an error -------------------------------------------------------------------

    def _seek_to_own(self, *only: TopicPartition) -> None:
        """Back to our own positions: the library may have moved on without giving us records."""
        assert self._consumer
        assert self._member
        following = self._member.epoch.next
        for tp in only or self._consumer.assignment():
            if tp in following:
                self._consumer.seek(tp, following[tp])

    async def _poll_up_to_the_bad(self, tp: TopicPartition, limit: int) -> Polled:
        """One by one: asked for more, the library drops what it has when it meets the bad one."""
        assert self._consumer
        assert self._member
        found: list[ConsumerRecord] = []
        wait = AGAIN_MOMENT if tp in self._member.epoch.aside else SUSPECT_MOMENT
        while len(found) < limit:
            try:
                polled = await poll(self._consumer, 1, 0 if found else wait, [tp])
            except Exception:
                if not found:
                    raise
                break
            if not polled:
                break
            found += polled[tp]
        return {tp: found} if found else {}

    def _can_be_read(self, tp: TopicPartition, polled: Polled) -> bool:
        """Whether a partition that was put aside gives records again."""
        assert self._consumer
        assert self._member
        if polled:
            del self._member.epoch.aside[tp]
        else:
            self._consumer.pause(tp)
        return bool(polled)

    def _suspect(self, one: TopicPartition | None, error: Exception) -> None:
        """Look for the partition that cannot be read, and put it aside: the others flow."""
        assert self._consumer
        assert self._member
        self._seek_to_own()
        epoch = self._member.epoch
        if one is None:
            self._suspects = deque(sorted(epoch.next.keys() - epoch.aside.keys()))
            return
        self._consumer.pause(one)
        self._try_again_at = asyncio.get_running_loop().time() + ASIDE_FOR
        where = f"{_name(one)} cannot be read at {epoch.next[one]}"
        epoch.aside[one] = f"{where}: {describe(error)}"
        self._member.say_ready()

    async def _start_over(self, lost: dict[TopicPartition, int]) -> None:
        """Positions that the brokers no longer know: what was there is lost, and we say so."""
        assert self._consumer
        assert self._member
        epoch = self._member.epoch
        self._seek_to_own()
        ours = {tp: at for tp, at in lost.items() if epoch.next.get(tp) == at}
        try:
            async with asyncio.timeout(BEGINNING_WITHIN):
                beginnings = await self._consumer.beginning_offsets(list(ours))
        except Exception as error:  # noqa: BLE001 - the next poll says it again
            log.warning("position-lost", partitions=[*map(_name, ours)], reason=describe(error))
            return
        if epoch is not self._member.epoch:
            return
        for tp, beginning in beginnings.items():
            metrics.GAPS.labels(self.name, "position lost").inc()
            log.error(
                "gap", source=self.name, partition=_name(tp), lost=ours[tp], goes_on=beginning
            )
            epoch.next[tp] = beginning
            epoch.aside.pop(tp, None)
            self._consumer.seek(tp, beginning)


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}-{tp.partition}"


def _filled(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes]]:
    """A header without a value is an empty one."""
    return [(name, value or b"") for name, value in headers]


def _size(part: Slice) -> int:
    try:
        return sum(map(len, part.values))  # type: ignore[arg-type]  # a tombstone raises
    except TypeError:
        return sum(len(value) for value in part.values if value is not None)


def _count(polled: Polled) -> int:
    return sum(map(len, polled.values()))
