"""Kafka: at least once, by positions that are committed only after a batch is settled.

The library's own positions are not used: they move past records that we have not settled. The
assignment knows the next offset of each partition, and we seek to it after any error.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from invalidator.model import Batch
from invalidator.runtime.health import Part
from invalidator.sources.gap import Gaps
from invalidator.sources.kafka.assignment import Taken
from invalidator.sources.kafka.batches import NAME, Ends, batch_of, name_of
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing, build, start, stop
from invalidator.sources.kafka.membership import Membership
from invalidator.sources.kafka.offsets import GroupPositions, Wanted
from invalidator.sources.kafka.private import Unreadable, describe, poll, show_life
from invalidator.sources.kafka.reread import read_again
from invalidator.sources.kafka.stored_offsets import StoredOffsets
from invalidator.sources.kafka.unreadable import UnreadablePartitions
from invalidator.sources.reread import UNWATCHED, Servers
from invalidator.sources.source import Lag, Start

if TYPE_CHECKING:
    from invalidator.sources.kafka.avro import AvroDecoder

log = structlog.get_logger("invalidator")

MOMENT = 0.3  # seconds that an empty read waits
JOIN_WITHIN = 90.0  # seconds; another member's drain comes first
BEGINNING_WITHIN = 10.0  # seconds
USUAL = Timing()


class KafkaSource:
    """One member of a consumer group."""

    name = NAME
    forgets = False
    overflowing: frozenset[str] = frozenset()  # Kafka keeps what is not read

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
        servers: Servers = UNWATCHED,
        clock: Callable[[], float] = time.time,
        decoder: "AvroDecoder | None" = None,
        stored: StoredOffsets | None = None,
    ) -> None:
        """Without `stored`, a group that the brokers have forgotten starts as a new one."""
        self._brokers = brokers
        self._decoder = decoder
        self._wanted = Wanted(topics)
        self._group = group_id
        self._part = part
        self._max_wait = max_wait
        self._timing = timing
        self._commits = commits
        self._instance_id = instance_id
        self._servers = servers
        self._clock = clock
        self._same_at = clock()  # when the servers last had the assignment's identity
        self._stored = stored
        self._positions = GroupPositions(self._wanted, start, clock, stored)
        self._gaps = Gaps(NAME)
        self._member: Membership | None = None
        self._topics: list[str] = []  # what we are subscribed to
        self._look_at = 0.0  # when we look again for topics that came or went
        self._paused: frozenset[str] = frozenset()  # topics
        self._stopped = False

    # --- the protocol -------------------------------------------------------------------

    async def open(self) -> None:
        await self.close()
        self._stopped = False
        if self._decoder:
            self._decoder.start()
        try:
            consumer = build(self._brokers, self._group, self._timing, self._instance_id)
            member = self._member = Membership(
                consumer,
                self._brokers,
                self._positions,
                self._timing,
                self._part,
                commits=self._commits,
                servers=self._servers,
                clock=self._last_same,
            )
            member.pause(self._paused)
            self._unreadable = UnreadablePartitions(consumer)
            await start(consumer)
            self._topics = await self._positions.topics(consumer)
        except Exception as error:
            await self.close()
            raise self._brokers.unavailable(await self._brokers.why() or describe(error)) from error
        member.missing = self._wanted.missing(self._topics)
        if not self._topics:
            await self.close()
            raise self._brokers.unavailable(member.missing)
        member.say_ready()
        member.subscribe(self._topics)
        member.begin()
        await self._join(member)

    async def read(self, limit: int) -> Batch | None:
        member = self._check()
        if self._stopped or not (member.assigned.is_set() or await self._is_assigned(member)):
            return None
        member.reads += 1
        if asyncio.get_running_loop().time() >= self._look_at:
            await self._follow_topics(member)
        if member.stalled:
            await self._check_progress(member)
        if self._servers.identity == member.assignment.identity:
            self._same_at = self._clock()
        else:
            await read_again(member, self._servers, self._gaps, self._same_at)
        if not member.assigned.is_set():
            return None
        assignment = member.assignment
        if assignment.passed or self._gaps:
            passed, rejected = assignment.take_passed()
            assignment.give()
            return Batch.of(NAME, rejected, Ends(assignment, passed), self._gaps.take())
        taken: dict[TopicPartition, Taken] = {}
        await self._poll(member, taken, limit, MOMENT)
        if taken and self._max_wait:
            await self._fill_up(member, taken, limit)
        if assignment is not member.assignment:
            return None  # after a rebalance, what we had is read again by its new owner
        batch = batch_of(assignment, taken)
        if batch and self._decoder:
            batch = await self._decoder.decode(batch, self)
        if not batch or assignment is not member.assignment:
            return None
        if not member.busy:
            member.note_records()
        assignment.give()
        return batch

    async def settle(self, batch: Batch) -> None:
        ends = batch.ends
        assert isinstance(ends, Ends)
        if self._member and ends.assignment is self._member.assignment:
            ends.assignment.settle(ends.ends, self._last_same())

    def pause(self, origins: frozenset[str]) -> None:
        self._paused = origins
        if self._member:
            self._member.pause(origins)

    def lag(self) -> Lag:
        return self._member.lag() if self._member else {}

    async def keep_alive(self) -> None:
        """Count as polling: otherwise the client would leave the group."""
        if self._member:
            show_life(self._member.consumer)

    async def stop(self) -> None:
        self._stopped = True
        if self._decoder:
            self._decoder.stop()

    async def close(self) -> None:
        """Commit, leave the group, close: bounded, and quiet when the brokers are unavailable."""
        if self._member:
            await self._member.end()
            await stop(self._member.consumer)
        if self._stored:
            await self._stored.close()
        self._member = None

    # --- the group ------------------------------------------------------------------------

    async def _join(self, member: Membership) -> None:
        """Wait until the group has given us partitions, or none because others have them all."""
        deadline = asyncio.get_running_loop().time() + JOIN_WITHIN
        while not await self._is_assigned(member):
            self._check()
            if asyncio.get_running_loop().time() > deadline:
                raise self._brokers.unavailable(f"group {self._group!r} does not let us in")
        self._check()

    async def _is_assigned(self, member: Membership) -> bool:
        """Wait for a moment until we have partitions; return whether we do."""
        show_life(member.consumer)  # a poll would wait for the end of the rebalance
        try:
            async with asyncio.timeout(MOMENT):
                await member.assigned.wait()
        except TimeoutError:
            member.check()
            return False
        return True

    def _check(self) -> Membership:
        member = self._member
        if member is None:
            raise self._brokers.unavailable("not connected")
        if member.failure:
            raise self._brokers.unavailable(member.failure)
        return member

    async def _follow_topics(self, member: Membership) -> None:
        """Look for topics that came or went. Raises Unavailable if none is left."""
        self._look_at = asyncio.get_running_loop().time() + self._timing.look_every
        known = map(member.consumer.partitions_for_topic, self._topics)
        if all(known) and not self._wanted.may_grow and not member.missing:
            return  # to ask for all topics costs the more the more there are
        try:
            async with asyncio.timeout(self._timing.answer):
                existing = await member.consumer.topics()
        except Exception as error:  # noqa: BLE001 - the membership asks whether brokers are there
            log.debug("kafka-topics", reason=describe(error))
            return
        chosen = self._wanted.choose(existing)
        member.missing = self._wanted.missing(existing)
        member.say_ready()
        if not chosen:
            raise self._brokers.unavailable(member.missing)
        if chosen != self._topics:
            log.info("kafka-topics-changed", source=NAME, reads=chosen, before=self._topics)
            self._topics = chosen
            member.subscribe(chosen)

    async def _check_progress(self, member: Membership) -> None:
        """Replace the client where a partition does not move, unless the brokers return nothing."""
        stalled, member.stalled = member.stalled, []
        for tp in stalled:
            if not (partition := member.assignment.partitions.get(tp)):
                continue
            if await self._unreadable.is_refused(member.assignment, tp):
                member.say_ready()
                continue
            stuck = f"{name_of(tp)} does not move from {partition.next}, though there is more"
            raise self._brokers.unavailable(stuck)

    def _last_same(self) -> float:
        """Return when the cache servers were last known to have the assignment's identity.

        A failover may take longer than the window: what was settled before it began counts.
        """
        identity = self._member.assignment.identity if self._member else ""
        if self._servers.identity == identity:
            self._same_at = self._clock()
        return self._same_at

    # --- reading ------------------------------------------------------------------------

    async def _poll(
        self, member: Membership, taken: dict[TopicPartition, Taken], limit: int, seconds: float
    ) -> None:
        """Add what the library has for our positions."""
        assignment = member.assignment
        if assignment.problems:
            self._unreadable.try_again(assignment)
        assignment.steer(member.consumer)
        try:
            polled = await poll(member.consumer, limit, seconds)
        except Unreadable as error:
            if error.tp in assignment.partitions and assignment is member.assignment:
                assignment.seek_again([error.tp])
                await self._unreadable.put_aside(assignment, error.tp, error.error)
                member.say_ready()
        except OffsetOutOfRangeError as error:
            await self._start_over(member, error.args[0])
        except Exception as error:
            raise self._brokers.unavailable(describe(error)) from error
        else:
            if assignment is member.assignment:
                assignment.take(polled, taken)
            else:  # a rebalance came while we waited
                member.assignment.seek_again(polled.keys())

    async def _fill_up(
        self, member: Membership, taken: dict[TopicPartition, Taken], limit: int
    ) -> None:
        """Give a batch that is not full a moment to fill; what is passed over ends it."""
        loop, assignment = asyncio.get_running_loop(), member.assignment
        deadline = loop.time() + self._max_wait
        while (left := deadline - loop.time()) > 0:
            room = limit - sum(len(part.records) for part in taken.values())
            if room <= 0 or self._stopped or assignment.passed:
                return
            if not member.assigned.is_set() or assignment is not member.assignment:
                return
            await self._poll(member, taken, room, min(left, MOMENT))

    async def _start_over(self, member: Membership, lost: Mapping[TopicPartition, int]) -> None:
        """Continue where logs begin that no longer have our positions, and report what is lost."""
        assignment = member.assignment
        places = assignment.partitions
        ours = {tp: at for tp, at in lost.items() if tp in places and places[tp].next == at}
        try:
            async with asyncio.timeout(BEGINNING_WITHIN):
                begins = await member.consumer.beginning_offsets(list(ours))
        except Exception as error:  # noqa: BLE001 - the next poll reports it again
            reason = describe(error)
            log.warning("kafka-position-lost", partitions=[*map(name_of, ours)], reason=reason)
            return
        if assignment is not member.assignment:
            return
        for tp, begin in begins.items():
            self._gaps.report(
                "position lost",
                [tp.topic],
                events=max(0, begin - ours[tp]) or None,
                partition=tp.partition,
                position=ours[tp],
                continues=begin,
            )
            assignment.start_over(tp, begin)
