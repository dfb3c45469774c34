"""Reads Kafka records again, by their time or offset, outside of any group."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from invalidator.model import Batch
from invalidator.sources.kafka.batches import NAME, name_of, slice_of
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import alone, start, stop
from invalidator.sources.kafka.offsets import Wanted, first_since, others
from invalidator.sources.kafka.private import (
    Polled,
    Unreadable,
    describe,
    partition_counts,
    poll,
    positions,
)
from invalidator.sources.replay import Newest, NotThere, Offsets, Part, Times
from invalidator.sources.source import Groupless

if TYPE_CHECKING:
    from invalidator.sources.kafka.avro import AvroDecoder

MOMENT = 0.3  # seconds that an empty read waits
LOOK_UP_WITHIN = 20.0  # seconds; the library would ask for ever, whatever the brokers answer


class KafkaReplay(Groupless):
    """A source that ends on its own, and commits nothing."""

    name = NAME

    def __init__(
        self,
        brokers: Brokers,
        topics: Sequence[str],
        wanted: Times | Offsets | Newest,
        decoder: "AvroDecoder | None" = None,
    ) -> None:
        """`topics` are those of the settings; offsets name their own."""
        self._brokers = brokers
        self._decoder = decoder
        self._topics = Wanted(topics)
        self._wanted = wanted
        self._consumer: AIOKafkaConsumer | None = None
        self._first: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] | None = None  # None: not looked up yet
        self._end: dict[TopicPartition, int] = {}

    @property
    def done(self) -> bool:
        return self._next is not None and not self._left()

    @property
    def total(self) -> int | None:
        """Return how many offsets: more than there are records where a topic is compacted."""
        if self._next is None:
            return None
        return sum(self._end[tp] - first for tp, first in self._first.items())

    @property
    def parts(self) -> Sequence[Part]:
        return [
            Part(name_of(tp), str(first), str(self._end[tp]), self._end[tp] - first)
            for tp, first in sorted(self._first.items())
        ]

    # --- the protocol of a source ---------------------------------------------------------

    async def open(self) -> None:
        """Connect, and look up where to begin. Raises NotThere, too."""
        await self.close()
        try:
            consumer = self._consumer = alone(self._brokers)
            await start(consumer)
            if self._next is None:
                async with asyncio.timeout(LOOK_UP_WITHIN):
                    await self._look_up(consumer)
            left = self._left()
            consumer.assign(list(left))
            for tp, at in left.items():
                consumer.seek(tp, at)
        except NotThere:
            raise
        except Exception as error:  # whatever it was, nothing can be read
            reason = await self._brokers.why() or describe(error)
            raise self._brokers.unavailable(reason) from error

    async def read(self, limit: int) -> Batch | None:
        consumer = self._consumer
        if self.stopped or self.done:
            return None
        if consumer is None:
            raise self._brokers.unavailable("not connected")
        try:
            polled = await poll(consumer, limit, MOMENT)
        except (Unreadable, OffsetOutOfRangeError) as error:
            left = ", ".join(f"{name_of(tp)} at {at}" for tp, at in self._left().items())
            raise NotThere(f"cannot be read ({left}): {describe(error)}") from error
        except Exception as error:  # records may have been dropped
            raise self._brokers.unavailable(describe(error)) from error
        wanted = self._cut(consumer, polled)
        slices = [slice_of(tp, records) for tp, records in wanted.items()]
        batch = Batch.of(NAME, slices, None) if slices else None
        return await self._decoder.decode(batch, self) if batch and self._decoder else batch

    async def stop(self) -> None:
        await super().stop()
        if self._decoder:
            self._decoder.stop()

    async def close(self) -> None:
        if self._consumer:
            await stop(self._consumer)
        self._consumer = None

    # --- where it begins and ends -----------------------------------------------------------

    async def _look_up(self, consumer: AIOKafkaConsumer) -> None:
        partitions = self._partitions(await partition_counts(consumer))
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        if isinstance(self._wanted, Offsets):
            (tp,) = partitions
            first, until = _within(self._wanted, begins[tp], ends[tp])
            self._first, self._end = {tp: first}, {tp: until}
        elif isinstance(self._wanted, Newest):
            most = self._wanted.count
            self._first = {tp: max(begins[tp], end - most) for tp, end in ends.items()}
            self._end = dict(ends)
        else:
            self._first = await self._at(consumer, self._wanted.since, ends)
            self._end = await self._at(consumer, self._wanted.until, ends)
        self._next = dict(self._first)

    async def _at(
        self, consumer: AIOKafkaConsumer, time_ms: int | None, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        if time_ms is None:
            return dict(ends)
        found = await first_since(consumer, dict.fromkeys(ends, time_ms), ends)
        return {tp: min(at, ends[tp]) for tp, at in found.items()}

    def _partitions(self, counts: Mapping[str, int]) -> list[TopicPartition]:
        if isinstance(self._wanted, Offsets):
            topic, number = self._wanted.topic, self._wanted.partition
            if topic not in counts:
                said = f"there is no topic named {topic!r}{others(topic, counts)}"
                raise NotThere(f"{self._brokers.address}: {said}")
            if number >= counts[topic]:
                raise NotThere(
                    f"topic {topic} has the partitions 0 to {counts[topic] - 1}, and no {number}"
                )
            return [TopicPartition(topic, number)]
        if missing := self._topics.missing(counts):
            raise NotThere(f"{self._brokers.address}: {missing}")
        topics = self._topics.choose(counts)
        return [TopicPartition(t, number) for t in topics for number in range(counts[t])]

    def _left(self) -> dict[TopicPartition, int]:
        return {tp: at for tp, at in (self._next or {}).items() if at < self._end[tp]}

    def _cut(self, consumer: AIOKafkaConsumer, polled: Polled) -> Polled:
        """Move on, and return the records before the ends."""
        assert self._next is not None
        wanted = {}
        for tp, records in polled.items():
            end = self._end[tp]
            if kept := [record for record in records if record.offset < end]:
                wanted[tp] = kept
            self._next[tp] = min(records[-1].offset + 1, end)
        if not polled:  # what is left may be the ends of transactions, and no records
            for tp, at in positions(consumer).items():
                self._next[tp] = max(self._next[tp], min(at, self._end[tp]))
        if over := [tp for tp in consumer.assignment() if self._next[tp] >= self._end[tp]]:
            consumer.pause(*over)
        return wanted


def _within(wanted: Offsets, begin: int, end: int) -> tuple[int, int]:
    name = f"{wanted.topic}-{wanted.partition}"
    if not begin <= wanted.first <= end:
        raise NotThere(f"{name} has the offsets {begin} to {end}, and no {wanted.first}")
    return wanted.first, end if wanted.until is None else max(wanted.first, min(wanted.until, end))
