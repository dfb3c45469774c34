"""Batches of the pipeline, made of what was polled from Kafka."""

from collections.abc import Iterable, Mapping
from operator import attrgetter

from aiokafka import TopicPartition
from msgspec import Struct

from invalidator.model import Batch, Record, Slice
from invalidator.sources.kafka.assignment import Assignment, End, Taken
from invalidator.sources.kafka.private import Fetched

NAME = "kafka"
HEADERS, TIME, VALUE = attrgetter("headers"), attrgetter("timestamp"), attrgetter("value")


class Ends(Struct, frozen=True):
    """The end of a batch, in each of its partitions."""

    assignment: Assignment  # under which it was read
    ends: Mapping[TopicPartition, End]


def name_of(tp: TopicPartition) -> str:
    return f"{tp.topic}-{tp.partition}"


def batch_of(assignment: Assignment, taken: Mapping[TopicPartition, Taken]) -> Batch | None:
    """Return a batch of these records, without partitions that went back since they were read."""
    slices, ends = [], {}
    for tp, part in taken.items():
        partition, records = assignment.partitions[tp], part.records
        if part.round == partition.round:
            slices.append(slice_of(tp, records))
            oldest = _oldest(records) if partition.reach.window else None
            ends[tp] = End(records[-1].offset + 1, part.round, oldest)
    return Batch.of(NAME, slices, Ends(assignment, ends)) if slices else None


def _oldest(records: list[Fetched]) -> float | None:
    """Return the Unix time of the oldest record; None where one has none."""
    try:
        oldest: int = min(map(TIME, records))
    except TypeError:  # records of the oldest format have no time
        return None
    return oldest / 1000 if oldest >= 0 else None


def slice_of(tp: TopicPartition, records: list[Fetched]) -> Slice:
    """Return the records of one partition as a slice."""

    def record(index: int) -> Record:
        r = records[index]
        return Record(
            NAME,
            tp.topic,
            f"{tp.partition}@{r.offset}",
            r.value,
            key=r.key,
            headers=tuple(_filled(r.headers)) if r.headers else (),
            time_ms=None if r.timestamp is None or r.timestamp < 0 else r.timestamp,
        )

    named = any(map(HEADERS, records))  # most topics have none: no list is made for these
    headers = [_filled(r.headers) for r in records] if named else ()
    # Keys of one topic are about equally long: to add them all up would cost every event 100 ns.
    keys = (len(records[0].key or b"") + len(records[-1].key or b"")) * len(records) // 2
    return Slice(tp.topic, list(map(VALUE, records)), record, headers, keys=keys)


def _filled(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes]]:
    """Return headers in which one without a value is empty."""
    return [(name, value or b"") for name, value in headers]
