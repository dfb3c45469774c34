"""Kafka: at least once, by positions that are committed only after a batch is settled.

The library's own notion of "consumed" is not used: it moves on past records that an exception
made it drop. We keep the next offset of each partition ourselves, and seek to it after any error.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.runtime.health import Part
from invalidator.sources.describe import describe
from invalidator.sources.gap import Gaps
from invalidator.sources.kafka.assignment import Epoch
from invalidator.sources.kafka.batches import (
    NAME,
    Ends,
    batch_of,
    batch_without_records,
    count,
    name_of,
)
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing, build, poll, show_life, start, stop, trouble
from invalidator.sources.kafka.diagnose import why
from invalidator.sources.kafka.fetch import Polled
from invalidator.sources.kafka.membership import Membership
from invalidator.sources.kafka.offsets import GroupPositions
from invalidator.sources.kafka.progress import Rebuilds
from invalidator.sources.kafka.topics import Wanted
from invalidator.sources.kafka.topicwatch import TopicWatch
from invalidator.sources.kafka.unreadable import Aside
from invalidator.sources.source import Lag
from invalidator.sources.start import Start
from invalidator.sources.trail import TIMELESS, WENT_BACK, Eras, Memory

log = structlog.get_logger("invalidator")

MOMENT = 0.3  # seconds that an empty read waits
JOIN_WITHIN = 90.0  # seconds; another member's drain comes first
USUAL = Timing()


class KafkaSource:
    """One member of a consumer group."""

    name = NAME
    forgets = False
    overflowing: frozenset[str] = frozenset()

    def __init__(
        self,
        brokers: Brokers,
        topics: Sequence[str],
        group_id: str,
        *,
        start: Start,
        part: Part,
        max_wait: float,
        timing: Timing = USUAL,
        commits: bool = True,
        instance_id: str = "",
        eras: Eras = TIMELESS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._brokers = brokers
        self._wanted = Wanted(topics)
        self._group = group_id
        self._part = part
        self._max_wait = max_wait
        self._timing = timing
        self._commits = commits
        self._instance_id = instance_id
        self._memory = Memory(eras, NAME)
        self._clock = clock
        self._positions = GroupPositions(brokers, group_id, self._wanted, start, clock)
        self._gaps = Gaps(NAME, now=clock)
        self._rebuilds = Rebuilds()
        self._consumer: AIOKafkaConsumer | None = None
        self._member: Membership | None = None
        self._aside: Aside | None = None
        self._watch: TopicWatch | None = None
        self._stopped = False
        self._held = False  # paused, because the work in flight is at its bound
        self._unwanted: Collection[str] = ()  # topics that are to be paused
        self._paused: set[TopicPartition] = set()  # because of that

    # --- the protocol -------------------------------------------------------------------

    async def open(self) -> None:
        await self.close()
        topics = await self._positions.await_topics()
        self._stopped = self._held = False
        self._paused = set()
        try:
            self._consumer = build(self._brokers, self._group, self._timing, self._instance_id)
            await start(self._consumer)
        except Exception as error:
            raise self._unavailable(await why(self._brokers) or describe(error)) from error
        self._member = Membership(
            self._consumer,
            self._brokers,
            self._positions,
            self._timing,
            self._part,
            commits=self._commits,
            instance_id=self._instance_id,
            eras=self._memory.eras,
            clock=self._clock,
        )
        self._aside = Aside(self._consumer, self._member)
        self._watch = TopicWatch(self._consumer, self._member, self._wanted, self._timing)
        self._watch.begin(topics)
        self._member.begin()
        await self._join()

    async def read(self, limit: int) -> Batch | None:
        member = self._check()
        if self._stopped or not await self._is_assigned(MOMENT):
            return None
        await self._look_after(member)
        await self._go_back(member)
        if not member.assigned.is_set():
            return None
        epoch = member.epoch
        if epoch.passed or self._gaps:
            return batch_without_records(epoch, self._gaps.take())
        self._let_flow()
        round_ = epoch.round
        polled = await self._poll(epoch, limit, MOMENT)
        if polled and self._max_wait:
            await self._fill_up(epoch, polled, limit)
        if not polled or epoch is not member.epoch:
            return None  # after a rebalance, what we had is read again by its new owner
        member.busy = True
        return batch_of(epoch, polled, round_)

    async def settle(self, batch: Batch) -> None:
        ends = batch.ends
        assert isinstance(ends, Ends)
        if self._member and ends.epoch is self._member.epoch:
            ends.epoch.settle(ends.offsets, self._clock(), ends.round)

    def lag(self) -> Lag:
        return self._member.lag() if self._member else {}

    def pause(self, origins: Collection[str]) -> None:
        self._unwanted = origins

    def set_aside(
        self, ends: object, origins: Collection[str], *, whole: bool
    ) -> tuple[object, object]:
        assert isinstance(ends, Ends)
        if not whole:
            return ends.divided(origins)
        ends.epoch.set_aside()
        return ends, None

    def take_back(self, ends: object) -> bool:
        """In another epoch they are read again, by us or by others."""
        assert isinstance(ends, Ends)
        if self._member is None or ends.epoch is not self._member.epoch:
            return False
        ends.epoch.give()
        return True

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
        self._member = self._consumer = self._aside = self._watch = None

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
        return Unavailable(self.name, f"{self._brokers.address}: {reason}")

    # --- now and then -----------------------------------------------------------------------

    async def _look_after(self, member: Membership) -> None:
        """Topics that came or went; partitions that stand still."""
        assert self._watch
        member.reads += 1
        if lost := await self._watch.look():
            raise self._unavailable(lost)
        if member.stalled:
            await self._rouse(member)

    async def _rouse(self, member: Membership) -> None:
        """The client is built anew, unless it is the brokers that have nothing for us."""
        assert self._aside
        stalled, member.stalled = member.stalled, []
        for tp in stalled:
            at = member.epoch.next.get(tp)
            if at is not None and not await self._aside.is_refused(tp):
                self._rebuilds.count(tp, at)
                raise self._unavailable(f"{name_of(tp)} stands still at {at}, though there is more")

    async def _go_back(self, member: Membership) -> None:
        """Where a cache may have forgotten what was settled, that is read again."""
        assert self._consumer
        epoch, current = member.epoch, self._memory.eras.current
        if epoch.era == current:
            return
        since = await self._memory.since(epoch.eras_behind(current))
        # What was settled meanwhile may have ended another way back, and stands in its era now.
        if epoch is not member.epoch or not epoch.eras_behind(current) <= since.keys():
            return
        if not (backs := epoch.go_back(since, current)):
            return
        self._seek_to_own(*backs)
        self._consumer.resume(*backs.keys() & self._consumer.paused())
        again = {name_of(tp): f"{b.position} to {b.goal}" for tp, b in backs.items()}
        self._memory.tell(since.values(), again)
        if short := sorted({tp.topic for tp, back in backs.items() if not back.complete}):
            self._gaps.tell(WENT_BACK, short)

    # --- reading ------------------------------------------------------------------------

    async def _poll(self, epoch: Epoch, limit: int, seconds: float) -> Polled:
        """What the library has for our positions. It may raise anything: a codec, a checksum."""
        assert self._consumer
        assert self._member
        assert self._aside
        one = self._aside.next()
        try:
            if one:
                polled = await self._aside.poll(one, limit)
            else:
                polled = await poll(self._consumer, limit, seconds)
        except OffsetOutOfRangeError as error:
            self._seek_to_own()
            await self._aside.start_over(error.args[0], self._gaps)
            return {}
        except Exception as error:  # noqa: BLE001 - whatever it was, records may have been dropped
            if epoch is self._member.epoch:
                self._seek_to_own()
                await self._aside.blame(one, error)
            return {}
        if epoch is not self._member.epoch:  # a rebalance came while we waited
            self._seek_to_own(*polled)
            return {}
        if one in epoch.aside and not self._aside.is_over(one, polled):
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
        """Give a batch that is not full a moment to fill; what is passed over ends it."""
        assert self._member
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._max_wait
        while (left := deadline - loop.time()) > 0 and (room := limit - count(polled)) > 0:
            if self._stopped or epoch.passed:
                return
            if not await self._is_assigned(0) or epoch is not self._member.epoch:
                return
            for tp, records in (await self._poll(epoch, room, min(left, MOMENT))).items():
                polled[tp] = polled.get(tp, []) + records

    def _let_flow(self) -> None:
        """Resume what keep_alive paused, and now and then what could not be read."""
        assert self._consumer
        assert self._member
        assert self._aside
        if self._held or self._unwanted or self._paused:
            self._pause_unwanted(self._consumer, self._member.epoch)
        self._aside.try_again()

    def _pause_unwanted(self, consumer: AIOKafkaConsumer, epoch: Epoch) -> None:
        """A new assignment begins without a pause."""
        assigned = consumer.assignment()
        paused = {tp for tp in assigned if tp.topic in self._unwanted}
        if self._held or self._paused - paused:
            consumer.resume(*(assigned - epoch.aside.keys() - paused))
        self._held, self._paused = False, paused
        if late := paused - consumer.paused():
            consumer.pause(*late)

    # --- after an error -------------------------------------------------------------------

    def _seek_to_own(self, *only: TopicPartition) -> None:
        """Back to our own positions: the library may have moved on without giving us records."""
        assert self._consumer
        assert self._member
        following = self._member.epoch.next
        for tp in only or self._consumer.assignment():
            if tp in following:
                self._consumer.seek(tp, following[tp])
