"""What was polled from Kafka, as the pipeline takes it."""

from collections.abc import Collection, Iterable
from operator import attrgetter

from aiokafka import TopicPartition
from msgspec import Struct

from invalidator.model import Batch, Fault, Record, Slice
from invalidator.sources.kafka.assignment import Epoch
from invalidator.sources.kafka.fetch import Fetched, Polled
from invalidator.sources.kafka.raw_batch import Unreadable

NAME = "kafka"
HEADERS, VALUE = attrgetter("headers"), attrgetter("value")


class Ends(Struct, frozen=True):
    """Where a Kafka batch ends."""

    epoch: Epoch  # the assignment it was read under
    offsets: dict[TopicPartition, int]  # the next offset of each partition; never a count
    round: int  # of the epoch: it was read since we last went back

    def divided(self, topics: Collection[str]) -> "tuple[Ends, Ends]":
        """Of these topics, and of the others."""
        ours = {tp: at for tp, at in self.offsets.items() if tp.topic in topics}
        others = {tp: at for tp, at in self.offsets.items() if tp.topic not in topics}
        return Ends(self.epoch, ours, self.round), Ends(self.epoch, others, self.round)


def name_of(tp: TopicPartition) -> str:
    return f"{tp.topic}-{tp.partition}"


def count(polled: Polled) -> int:
    return sum(map(len, polled.values()))


def batch_of(epoch: Epoch, polled: Polled, round_: int) -> Batch:
    """`round_` is the one in which it was read: a log may have been found cut since."""
    epoch.give()
    slices = [slice_of(tp, records) for tp, records in polled.items()]
    offsets = {tp: records[-1].offset + 1 for tp, records in polled.items()}
    ends = Ends(epoch, offsets, round_)
    return Batch(NAME, slices, count(polled), sum(part.size for part in slices), ends)


def batch_without_records(epoch: Epoch, own: list[Slice]) -> Batch:
    """Offsets that are passed over, and what is to be said of them before that is settled."""
    passed, refused = epoch.passed, epoch.refused
    epoch.passed, epoch.refused = {}, []
    epoch.give()
    size = sum(part.size for part in refused)
    return Batch(NAME, refused, len(refused), size, Ends(epoch, passed, epoch.round), own)


def refused_slice(tp: TopicPartition, bad: Unreadable) -> Slice:
    """A dead letter that holds the whole batch as the brokers have it."""
    last = bad.next - 1
    offsets = f"{bad.first}-{last}" if last > bad.first else f"{bad.first}"
    record = Record(NAME, tp.topic, f"{tp.partition}@{offsets}", bad.raw)
    message = f"{name_of(tp)} cannot be read at {offsets}, and was passed over: {bad.reason}"
    return Slice(tp.topic, [bad.raw], lambda _: record, refused=Fault("unreadable-batch", message))


def slice_of(tp: TopicPartition, records: list[Fetched]) -> Slice:
    """Records of one partition."""

    def record(index: int) -> Record:
        r = records[index]
        return Record(
            NAME,
            tp.topic,
            f"{tp.partition}@{r.offset}",
            r.value,
            key=r.key,
            headers=tuple(_filled(r.headers)),
            time_ms=None if r.timestamp is None or r.timestamp < 0 else r.timestamp,
        )

    named = any(map(HEADERS, records))  # most topics have none: no list is made for these
    headers = [_filled(r.headers) for r in records] if named else ()
    # Keys of one topic are about equally long: to add them all up would cost every event 100 ns.
    keys = (len(records[0].key or b"") + len(records[-1].key or b"")) * len(records) // 2
    return Slice(tp.topic, list(map(VALUE, records)), record, headers, keys=keys)


def _filled(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes]]:
    """A header without a value is an empty one."""
    return [(name, value or b"") for name, value in headers]
