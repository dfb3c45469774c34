"""Kafka: at least once, by positions that are committed only after a batch is settled.

The library's own notion of "consumed" is not used: it moves on past records that an exception
made it drop. We keep the next offset of each partition ourselves, and seek to it after any error.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog
from aiokafka import (
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from invalidator.errors import Unavailable
from invalidator.health import Part
from invalidator.model import Batch, Record, Slice
from invalidator.sources.positions import Birth, GroupPositions, Start

log = structlog.get_logger("invalidator")

MOMENT_MS = 300  # how long an empty read waits
COMMIT_EVERY = 0.2  # seconds: a commit per batch would burden the brokers when batches are small
COMMIT_WITHIN = 10.0  # seconds; the library would retry for ever
JOIN_WITHIN = 90.0  # seconds; another member's drain comes first
DRAIN_WITHIN = 20.0  # seconds that a rebalance waits for batches in work; below REBALANCE
CLOSE_WITHIN = 5.0
AFTER_ERROR = 1.0  # seconds between polls while they raise
REBALANCE_MS, REQUEST_MS = 45_000, 60_000  # at least the session's, and in this order


Polled = dict[TopicPartition, list[ConsumerRecord]]


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a Kafka batch ends."""

    epoch: int  # the assignment it was read under
    offsets: dict[TopicPartition, int]  # the next offset of each partition; never a count


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc]  # it ships no types
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
        session_timeout: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bootstrap = ",".join(bootstrap_servers)
        self._topics = topics
        self._group = group_id
        self._part = part
        self._max_wait = max_wait
        self._session_ms = int(session_timeout * 1000)
        self._positions = GroupPositions(self._bootstrap, group_id, topics, start, clock)
        self._consumer: AIOKafkaConsumer | None = None
        self._committer: asyncio.Task[None] | None = None
        self._stopped = False
        self._held = False  # paused, because the work in flight is at its bound
        self._epoch = 0
        self._all_settled = asyncio.Event()
        self._assigned = asyncio.Event()
        self._forget_assignment()

    def _forget_assignment(self) -> None:
        """A new epoch: what was read under the last one is no longer ours to commit."""
        self._epoch += 1
        self._unsettled = 0  # batches given out in this epoch
        self._all_settled.set()
        self._next: dict[TopicPartition, int] = {}  # what to read next, for each of our partitions
        self._settled: dict[TopicPartition, int] = {}  # what is to be committed
        self._birth: Birth | None = None
        self._failure: str = ""  # why the assignment could not be taken up

    # --- the protocol -------------------------------------------------------------------

    async def open(self) -> None:
        await self._let_go()
        await self._positions.await_topics()
        self._stopped = False
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=self._group,
            client_id="invalidator",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=min(3_000, self._session_ms // 3),
            rebalance_timeout_ms=REBALANCE_MS,
            request_timeout_ms=REQUEST_MS,
            metadata_max_age_ms=30_000,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            await _stop(consumer)
            raise Unavailable(self.name, f"{self._bootstrap}: {error}") from error
        self._consumer = consumer
        self._assigned.clear()
        consumer.subscribe(topics=list(self._topics), listener=self)
        self._committer = asyncio.create_task(self._commit_for_ever(), name="kafka-committer")
        await self._join()

    async def _join(self) -> None:
        """Until the group has given us partitions, or none because others have them all."""
        try:
            async with asyncio.timeout(JOIN_WITHIN):
                await self._assigned.wait()
        except TimeoutError:
            raise Unavailable(self.name, f"group {self._group!r} does not let us in") from None
        if self._failure:
            raise Unavailable(self.name, self._failure)

    async def read(self, limit: int) -> Batch | None:
        if self._failure:
            raise Unavailable(self.name, self._failure)
        if self._stopped:
            return None
        self._let_flow()
        polled = await self._poll(limit, MOMENT_MS)
        if polled and self._max_wait:
            await self._fill_up(polled, limit)
        return self._batch(polled) if polled else None

    async def settle(self, batch: Batch) -> None:
        ends = batch.ends
        assert isinstance(ends, Ends)
        if ends.epoch != self._epoch:
            return
        self._settled.update(ends.offsets)
        self._unsettled -= 1
        if not self._unsettled:
            self._all_settled.set()

    async def keep_alive(self) -> None:
        """Polling tells the group that we live; paused partitions give no records meanwhile."""
        if self._consumer is None:
            return
        self._held = True
        self._consumer.pause(*self._consumer.assignment())
        if await self._consumer.getmany(timeout_ms=0, max_records=1):
            self._seek_to_own()  # it was not paused in time, and nobody takes this record

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        await self._let_go()

    # --- reading ------------------------------------------------------------------------

    async def _poll(self, limit: int, timeout_ms: int) -> Polled:
        """What the library has for our positions. It may raise anything: a codec, a checksum."""
        assert self._consumer is not None
        try:
            polled = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=limit)
        except Exception as error:  # noqa: BLE001 - whatever it was, records may have been dropped
            self._seek_to_own()
            self._part.away(f"{type(error).__name__}: {error}")
            await asyncio.sleep(AFTER_ERROR)
            return {}
        if polled:
            self._part.ready()
        return self._take(polled)

    def _take(self, polled: Polled) -> Polled:
        """Move our positions on; leave out what was fetched before our seek took effect."""
        assert self._consumer is not None
        taken = {}
        for tp, records in polled.items():
            after = self._next.get(tp)
            if after is None:
                continue  # the listener is still about to seek
            if records[0].offset < after:
                self._consumer.seek(tp, after)
                continue
            taken[tp] = records
            self._next[tp] = records[-1].offset + 1
        return taken

    async def _fill_up(self, polled: Polled, limit: int) -> None:
        """Give a batch that is not full a moment to fill."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._max_wait
        epoch = self._epoch
        while (left := deadline - loop.time()) > 0 and (room := limit - _count(polled)) > 0:
            more = await self._poll(room, max(1, int(left * 1000)))
            if epoch != self._epoch:  # a rebalance: what we had is read again by its new owner
                polled.clear()
                epoch = self._epoch
            for tp, records in more.items():
                polled[tp] = polled.get(tp, []) + records

    def _batch(self, polled: Polled) -> Batch:
        self._unsettled += 1
        self._all_settled.clear()
        slices = [self._slice(tp, records) for tp, records in polled.items()]
        ends = Ends(self._epoch, {tp: records[-1].offset + 1 for tp, records in polled.items()})
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
                headers=tuple(r.headers),
                time_ms=r.timestamp,
            )

        return Slice(tp.topic, [r.value for r in records], record)

    def _let_flow(self) -> None:
        if self._held and self._consumer is not None:
            self._held = False
            self._consumer.resume(*self._consumer.assignment())

    def _seek_to_own(self) -> None:
        """Back to our own positions: the library may have moved on without giving us records."""
        assert self._consumer is not None
        for tp in self._consumer.assignment():
            if tp in self._next:
                self._consumer.seek(tp, self._next[tp])

    # --- the group: called by the library, which swallows what these raise -----------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let batches in work be settled and committed before others may read on."""
        if set(revoked):
            await self._drain()
            await self._commit()
        self._forget_assignment()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        assert self._consumer is not None
        partitions = sorted(assigned)
        try:
            found = await self._positions.find(self._consumer, partitions)
        except Exception as error:  # noqa: BLE001 - the library would swallow it, and we stall
            self._failure = f"no position for the assigned partitions: {error}"
            self._assigned.set()
            return
        for tp, position in found.positions.items():
            self._consumer.seek(tp, position)
        self._birth = found.birth
        self._next = dict(found.positions)
        self._settled = {tp: found.positions[tp] for tp in found.fresh}
        self._held = False
        await self._commit()
        self._assigned.set()
        self._part.ready()
        log.info("assigned", source=self.name, partitions=[f"{t}-{p}" for t, p in partitions])

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_WITHIN):
                await self._all_settled.wait()
        except TimeoutError:
            log.warning("rebalance-did-not-wait", batches=self._unsettled, read_again="elsewhere")

    # --- committing -----------------------------------------------------------------------

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            await self._commit()

    async def _commit(self) -> None:
        """Commit what was settled. What fails now is tried again with the next."""
        if not self._settled or self._consumer is None:
            return
        epoch, settled, self._settled = self._epoch, self._settled, {}
        note = self._birth.dump() if self._birth else ""
        try:
            async with asyncio.timeout(COMMIT_WITHIN):
                await self._consumer.commit(
                    {tp: OffsetAndMetadata(offset, note) for tp, offset in settled.items()}
                )
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("commit-refused", reason=str(error), read_again="by the partitions' owner")
        except (KafkaError, TimeoutError) as error:
            log.warning("commit-delayed", reason=str(error) or "no answer in time")
            if epoch == self._epoch:
                self._settled = settled | self._settled

    async def _let_go(self) -> None:
        """Commit, leave the group, close: bounded, and quiet when the brokers are away."""
        if self._committer:
            self._committer.cancel()
            await asyncio.wait([self._committer])
            self._committer = None
        if self._consumer:
            await self._commit()
            await _stop(self._consumer)
            self._consumer = None
        self._forget_assignment()


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """The library's stop can hang, and can raise a CancelledError that nobody asked for."""
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    except (KafkaError, OSError, TimeoutError) as error:
        log.debug("kafka-close", reason=str(error))


def _size(part: Slice) -> int:
    try:
        return sum(map(len, part.values))  # type: ignore[arg-type]  # a tombstone raises
    except TypeError:
        return sum(len(value) for value in part.values if value is not None)


def _count(polled: Polled) -> int:
    return sum(map(len, polled.values()))
