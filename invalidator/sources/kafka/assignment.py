"""One assignment of Kafka partitions to us: for each, what to read next and what is settled.

It is the only owner of these positions: the source, the committer and the handling of unreadable
partitions call it, and `steer` passes its decisions to the client.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from msgspec import Struct

from invalidator.model import Slice
from invalidator.sources.kafka.offsets import GroupStart, Note, Positions
from invalidator.sources.kafka.private import Fetched, Polled
from invalidator.sources.reread import UNWATCHED, Reach, Servers


class Partition(Struct):
    """The positions of one partition. Only its assignment writes here."""

    next: int  # the offset to read next
    settled: int  # all before it is settled; a topic that was paused is read again from here
    done: int  # what is committed: `settled`, or a later offset while records are read again
    floor: int  # nothing before it is read again
    reach: Reach
    identity: str = ""  # of the cache servers that have applied all before `done`
    since: float | None = None  # what commits say, instead of what `reach` says now
    goal: int | None = None  # up to here records are read again
    coming: str = ""  # the identity from then on
    round: int = 0  # what was read in an earlier round settles nothing
    paused: bool = False  # its topic is
    problem: str = ""  # why it cannot be read; empty if it can
    retried: bool = False  # whether that is being tried again


class Taken(Struct):
    """Records of one partition."""

    round: int  # in which they were read
    records: list[Fetched]


class End(Struct, frozen=True):
    """The end of a batch in one partition."""

    offset: int  # the next one; never a count, since logs have holes
    round: int
    oldest: float | None = None  # Unix time of the oldest record, where it is known


class Assignment:
    """One assignment of partitions. What was read under it is committed under it only."""

    def __init__(
        self,
        generation: int = -1,
        start: GroupStart | None = None,
        partitions: Mapping[TopicPartition, Partition] | None = None,
    ) -> None:
        self.generation = generation  # the group's number of it
        self.start = start  # every commit carries it
        self.partitions = dict(partitions or {})
        self.stopped: frozenset[TopicPartition] = frozenset()  # paused, or cannot be read
        self.problems: dict[TopicPartition, str] = {}  # why partitions cannot be read
        self.drained = asyncio.Event()
        self.drained.set()
        self.given = 0  # batches that were given out and are not settled
        self.identity = ""  # of the cache servers, when partitions were last compared with it
        self._to_seek = set(self.partitions)
        self.to_commit: set[TopicPartition] = set()
        self.passed: set[TopicPartition] = set()  # moved on without records
        self._rejected: list[Slice] = []  # passed over, and to become dead letters
        self._steered: frozenset[TopicPartition] = frozenset()  # what the client has paused

    # --- reading ------------------------------------------------------------------------

    def steer(self, consumer: AIOKafkaConsumer) -> None:
        """Tell the client where to continue, and which partitions to pause."""
        for tp in self._to_seek:
            consumer.seek(tp, self.partitions[tp].next)
        self._to_seek.clear()
        if self._steered != self.stopped:
            consumer.pause(*self.stopped)
            consumer.resume(*(self.partitions.keys() - self.stopped))
            self._steered = self.stopped

    def seek_again(self, partitions: Collection[TopicPartition]) -> None:
        """Note that the client may have moved on without giving us the records."""
        self._to_seek.update(self.partitions.keys() & partitions)

    def take(self, polled: Polled, taken: dict[TopicPartition, Taken]) -> None:
        """Add these records and move on past them, except what was fetched before a seek."""
        for tp, records in polled.items():
            partition = self.partitions[tp]
            if tp in self._to_seek or records[0].offset < partition.next:
                self._to_seek.add(tp)
                continue
            partition.next = records[-1].offset + 1
            if partition.problem:
                self.set_problem(tp, "")
            before = taken.get(tp)
            if before and before.round == partition.round:
                before.records += records
            else:
                taken[tp] = Taken(partition.round, records)

    def give(self) -> None:
        """Note that a batch is given out: a rebalance waits until it is settled."""
        self.given += 1
        self.drained.clear()

    def take_passed(self) -> tuple[dict[TopicPartition, End], list[Slice]]:
        """Return the positions that moved on without records, and what is lost as dead letters."""
        parts = {tp: self.partitions[tp] for tp in self.passed}
        rejected, self._rejected = self._rejected, []
        self.passed.clear()
        return {tp: End(p.next, p.round) for tp, p in parts.items()}, rejected

    @property
    def done(self) -> Mapping[TopicPartition, int]:
        """Return up to where each partition is settled."""
        return {tp: partition.done for tp, partition in self.partitions.items()}

    def pause(self, topics: Collection[str]) -> None:
        """Pause exactly these topics. What is not settled of them is read again later."""
        for tp, partition in self.partitions.items():
            partition.paused = tp.topic in topics
            if partition.paused:
                self._go_to(tp, partition.settled)
        self._update_stopped()

    def _go_to(self, tp: TopicPartition, position: int) -> None:
        """Continue from there; what was read before no longer settles anything."""
        partition = self.partitions[tp]
        partition.round += 1
        partition.next = partition.settled = position
        self._to_seek.add(tp)

    def _update_stopped(self) -> None:
        self.problems = {tp: p.problem for tp, p in self.partitions.items() if p.problem}
        self.stopped = frozenset(
            tp
            for tp, partition in self.partitions.items()
            if partition.paused or (partition.problem and not partition.retried)
        )

    # --- what cannot be read --------------------------------------------------------------

    def set_problem(self, tp: TopicPartition, reason: str) -> None:
        """Read only other partitions, until the reason is empty again."""
        partition = self.partitions[tp]
        partition.problem, partition.retried = reason, False
        self._update_stopped()

    def retry(self) -> None:
        """Try to read partitions with problems; a problem is over when records come."""
        for partition in self.partitions.values():
            partition.retried = bool(partition.problem)
        self._update_stopped()

    def pass_over(self, tp: TopicPartition, position: int, rejected: Slice | None = None) -> None:
        """Continue from there, and settle the records before it by a batch without records."""
        self.partitions[tp].next = position
        self.passed.add(tp)
        self._to_seek.add(tp)
        if rejected:
            self._rejected.append(rejected)
        self.set_problem(tp, "")

    def start_over(self, tp: TopicPartition, beginning: int) -> None:
        """Continue where the log begins, since it no longer has our position.

        If it begins before that, it ends before it, too: it was cut, or is another one. An earlier
        commit would pass over what is written to it.
        """
        partition = self.partitions[tp]
        if beginning < partition.next:
            self._go_to(tp, beginning)
            partition.done = partition.floor = beginning
            partition.identity, partition.goal, partition.since = self.identity, None, None
        self.pass_over(tp, beginning)

    # --- settling -----------------------------------------------------------------------

    def settle(self, ends: Mapping[TopicPartition, End], now: float) -> None:
        """Move positions on, except those of partitions that went back since the batch was read."""
        for tp, end in ends.items():
            partition = self.partitions[tp]
            if end.round == partition.round:
                if end.oldest is not None:
                    partition.reach.settled(now, end.oldest)
                self._settle(tp, end.offset)
        self.given -= 1
        if not self.given:
            self.drained.set()

    def _settle(self, tp: TopicPartition, offset: int) -> None:
        partition = self.partitions[tp]
        partition.settled = offset
        if partition.goal is not None and offset >= partition.goal:
            _adopt(partition, partition.coming)
        elif offset < partition.done:
            return  # it is read again: no commit goes backwards
        partition.done = max(offset, partition.done)
        self.to_commit.add(tp)

    def skip(self, positions: Mapping[TopicPartition, int]) -> None:
        """Move on, where all is settled, past what holds no records: the ends of transactions.

        `positions` are those of the client.
        """
        for tp, position in positions.items():
            partition = self.partitions.get(tp)
            if not partition or tp in self._to_seek:
                continue
            if partition.next == partition.settled < position:
                partition.next = position
                self._settle(tp, position)

    # --- committing ---------------------------------------------------------------------

    def commits(
        self, partitions: Iterable[TopicPartition], now: float
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return the positions of these partitions, with what travels with them."""
        found = {}
        for tp in partitions:
            p = self.partitions[tp]
            note = Note(p.identity, p.reach.since(now) if p.since is None else p.since)
            metadata = self.start.dump(tp.topic, note) if self.start else ""
            found[tp] = OffsetAndMetadata(p.done, metadata)
        return found

    # --- reading again, after a cache may have lost writes --------------------------------

    def compare(self, identity: str, now: float) -> dict[TopicPartition, float]:
        """Return the partitions that are to be read again, and from which time on."""
        again = {}
        for tp, partition in self.partitions.items():
            expected = partition.identity if partition.goal is None else partition.coming
            if expected == identity:
                partition.since = None if partition.goal is None else partition.since
            elif expected:
                since = partition.since
                again[tp] = partition.reach.since(now) if since is None else since
            else:
                _adopt(partition, identity)
        if not again:
            self.identity = identity
        return again

    def read_again(
        self,
        identity: str,
        since: Mapping[TopicPartition, float],
        starts: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Go back to these positions. Return what is read again: from where, to where."""
        self.identity = identity
        again = {}
        for tp, start in starts.items():
            partition = self.partitions[tp]
            position = max(partition.floor, min(start, partition.settled))
            goal = max(partition.next, partition.goal or 0)
            if position == goal:
                _adopt(partition, identity)
                self.to_commit.add(tp)
                continue
            again[tp] = position, goal
            partition.goal, partition.coming, partition.since = goal, identity, since[tp]
            partition.problem = ""
            self.passed.discard(tp)  # it will be found again
            self._go_to(tp, position)
        self._update_stopped()
        return again


def _adopt(partition: Partition, identity: str) -> None:
    partition.identity, partition.goal, partition.since = identity, None, None


def partitions_of(
    found: Positions, now: float, servers: Servers = UNWATCHED
) -> dict[TopicPartition, Partition]:
    """Return the partitions as they begin when they are assigned to us."""
    partitions = {}
    for tp, at in found.positions.items():
        partitions[tp] = partition = Partition(at, at, at, 0, Reach(servers.window))
        note = found.notes.get(tp, Note())
        if tp in found.fresh:  # nothing of it was applied
            partition.floor, partition.identity = at, servers.identity
        elif note.identity and servers.window:
            partition.identity, partition.since = note.identity, note.since
            partition.reach.settled(now, note.since + servers.window)  # by those who had it before
    return partitions
