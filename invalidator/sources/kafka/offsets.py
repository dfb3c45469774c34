"""Finds the positions of a Kafka consumer group, and where it begins while it has none.

A group starts once, with its first member. The commits carry when that was and how many partitions
each topic had: so a member that finds a partition without a position knows whether it was there at
the start (then the setting applies, as of the start) or was added later (then everything in it is
new, and it is read from its beginning).

Brokers forget a group that had no member for a week. Its positions are also stored in the state's
Redis: there it reads on from them.

They also carry which cache servers have applied all before them, and from which time on events are
to be read again where others answer now: so a failover that no member saw is found by the next one.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from msgspec import Struct, field

from invalidator.runtime.text import closest
from invalidator.sources.kafka.private import group_offsets, insist, partition_counts
from invalidator.sources.kafka.stored_offsets import StoredOffsets
from invalidator.sources.source import Start

log = structlog.get_logger("invalidator")

SHOWN = 10  # topics that exist, in a message


class Wanted:
    """The topics of the settings. A pattern is a regular expression that begins with `^`."""

    def __init__(self, entries: Iterable[str]) -> None:
        entries = list(entries)
        self.names = [entry for entry in entries if not entry.startswith("^")]
        self._patterns = [re.compile(entry) for entry in entries if entry.startswith("^")]
        self.may_grow = bool(self._patterns)

    def wants(self, topic: str) -> bool:
        """Return whether a topic is ours. No pattern matches names that begin with `__`."""
        if topic in self.names:
            return True
        return not topic.startswith("__") and any(p.match(topic) for p in self._patterns)

    def choose(self, existing: Collection[str]) -> list[str]:
        return sorted(filter(self.wants, existing))

    def missing(self, existing: Collection[str]) -> str:
        """Return which topics do not exist, as a sentence; empty if all do."""
        absent = [name for name in self.names if name not in existing]
        absent += [p.pattern for p in self._patterns if not self.choose(existing)]
        if not absent:
            return ""
        return (
            f"there is no topic named {', '.join(map(repr, absent))}{others(absent[0], existing)}"
        )


def others(absent: str, existing: Iterable[str]) -> str:
    """Return `; did you mean …? There are …`: the topics that a person may have meant."""
    names = sorted(name for name in existing if not name.startswith("__"))
    if not names:
        return "; there is none at all that we may see"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    there = f"here are {', '.join(names[:SHOWN])}{more}"
    near = closest(absent, names)
    return f"; did you mean {near}? T{there}" if near else f"; t{there}"


Committed = Mapping[TopicPartition, OffsetAndMetadata]

CLOCKS_DIFFER_MS = 60_000  # a start is another machine's time: rather read a minute too much
ANSWER_WITHIN = 12.0  # seconds that one question may take
MOST_OF_METADATA = (
    4000  # bytes: brokers take 4096 with a commit, unless they are configured otherwise
)


class Note(Struct, frozen=True):
    """The note in a commit about the caches; empty if another tool or version committed."""

    identity: str = ""  # of the cache servers that have applied all before the position
    since: float = 0.0  # from which time on events are read again, where others answer now

    @classmethod
    def parse(cls, metadata: str) -> "Note":
        try:
            read = orjson.loads(metadata)
            return cls(str(read["identity"]), float(read["since"]))
        except (ValueError, KeyError, TypeError):
            return cls()


class GroupStart(Struct, frozen=True):
    """The time of a group's first read, and the partitions that it found."""

    time_ms: int
    partitions: Mapping[str, int]  # how many each topic had

    def dump(self, topic: str, note: Note | None = None) -> str:
        """Return the metadata of a commit on this topic.

        If they do not all fit, it names only this topic.
        """
        said = {"v": 3, "born": self.time_ms, "had": dict(self.partitions)}
        if note and note.identity:
            said |= {"identity": note.identity, "since": math.floor(note.since)}
        metadata = orjson.dumps(said)
        if len(metadata) > MOST_OF_METADATA:
            said["had"] = {t: n for t, n in self.partitions.items() if t == topic}
            metadata = orjson.dumps(said)
        return metadata.decode()

    @classmethod
    def of(cls, told: Sequence["GroupStart"]) -> "GroupStart":
        """Combine several commits: for each topic the earliest that names it counts."""
        partitions: dict[str, int] = {}
        for start in sorted(told, key=lambda start: start.time_ms, reverse=True):
            partitions |= start.partitions
        return cls(min(start.time_ms for start in told), partitions)

    @classmethod
    def parse(cls, metadata: str) -> "GroupStart | None":
        """Return what a commit's metadata says; None where another tool committed."""
        try:
            read = orjson.loads(metadata)
            return cls(int(read["born"]), {str(t): int(n) for t, n in read["had"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def had(self, tp: TopicPartition) -> bool:
        return bool(tp.partition < self.partitions.get(tp.topic, 0))


class Positions(Struct, frozen=True):
    """The positions from which to read."""

    start: GroupStart
    positions: Mapping[TopicPartition, int]
    fresh: frozenset[TopicPartition]  # those that had no position before
    notes: Mapping[TopicPartition, Note] = field(default_factory=dict)
    # Of partitions that are not asked for: where the brokers have forgotten the group, its first
    # member commits them for the others.
    others: Mapping[TopicPartition, int] = field(default_factory=dict)


class GroupPositions:
    """Finds the positions of one group on its topics."""

    def __init__(
        self,
        wanted: Wanted,
        start: Start,
        clock: Callable[[], float] = time.time,
        stored: StoredOffsets | None = None,
    ) -> None:
        self._wanted = wanted
        self._start = start
        self._clock = clock
        self._stored = stored
        # The partitions when this process looked first: what came later is new to its group.
        self._first: dict[str, int] | None = None
        self.started: GroupStart | None = None  # set once commits say so

    async def topics(self, consumer: AIOKafkaConsumer) -> list[str]:
        """Return our topics that exist.

        Asking for all topics creates none; subscribing to one that is absent might.
        """
        async with asyncio.timeout(ANSWER_WITHIN):
            counts = await partition_counts(consumer)
        if self._first is None:
            self._first = {t: n for t, n in counts.items() if self._wanted.wants(t)}
        return self._wanted.choose(counts)

    async def find(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> Positions:
        """Return the positions from which to read these partitions."""
        committed = await self._committed(consumer)
        if not committed and (known := await self._known()):
            # A member that begins a new group commits before it stores.
            committed = await self._committed(consumer)
            if not committed:
                return await self._read_on(consumer, partitions, known)
        start = self._start_of(committed)
        positions = {tp: committed[tp].offset for tp in partitions if tp in committed}
        fresh = [tp for tp in partitions if tp not in positions]
        started = [tp for tp in fresh if start.had(tp)]
        added = [tp for tp in fresh if not start.had(tp)]
        if started:
            positions |= await self._at_start(consumer, started, start, new=not committed)
        if added:
            positions |= await consumer.beginning_offsets(added)
        if committed:
            self.started = start
        notes = {tp: Note.parse(c.metadata or "") for tp, c in committed.items()}
        return Positions(start, positions, frozenset(fresh), notes)

    async def store(self, positions: Mapping[TopicPartition, int]) -> None:
        """Store up to where partitions are settled."""
        if self._stored:
            await self._stored.store(positions)

    async def _known(self) -> Mapping[TopicPartition, int]:
        """Return the stored positions, unless there are none, or none that matter."""
        if self._stored is None or self.started or self._start.at == "earliest":
            return {}
        counts = self._first or {}
        found = await self._stored.load()
        return {tp: at for tp, at in found.items() if tp.partition < counts.get(tp.topic, 0)}

    async def _read_on(
        self,
        consumer: AIOKafkaConsumer,
        partitions: Sequence[TopicPartition],
        known: Mapping[TopicPartition, int],
    ) -> Positions:
        """Return where a group reads on that the brokers have forgotten.

        Topics that it never read begin as the setting says, and partitions that its topics did not
        have then at their beginning. A position that the log no longer has is reported when it is
        read.
        """
        topics = {tp.topic for tp in known}
        unread = {topic: n for topic, n in (self._first or {}).items() if topic not in topics}
        start = GroupStart(int(self._clock() * 1000), unread)
        added = [tp for tp in partitions if tp.topic in topics and tp not in known]
        configured = [*known, *(tp for tp in partitions if tp.topic not in topics)]
        positions = await self._at_start(consumer, configured, start, new=True)
        latest = self._start.at == "latest"
        positions |= {tp: at if latest else min(at, positions[tp]) for tp, at in known.items()}
        positions |= await consumer.beginning_offsets(added) if added else {}
        log.warning("kafka-group-forgotten", source="kafka", continues="at the stored positions")
        others = {tp: positions.pop(tp) for tp in known if tp not in partitions}
        return Positions(start, positions, frozenset(partitions), others=others)

    def _start_of(self, committed: Committed) -> GroupStart:
        """Return the earliest start that a commit names; now, if there is no commit.

        If there were commits earlier, their topics were deleted: all that has these names is new.
        Positions that another tool wrote do not say it: then every partition without one counts
        as new, which reads too much rather than too little.
        """
        starts = [s for c in committed.values() if (s := GroupStart.parse(c.metadata or ""))]
        if starts:
            return GroupStart.of(starts)
        if self.started and not committed:
            return GroupStart(self.started.time_ms, {})
        now = int(self._clock() * 1000)
        return GroupStart(now, {} if committed else self._first or {})

    async def _at_start(
        self,
        consumer: AIOKafkaConsumer,
        partitions: list[TopicPartition],
        start: GroupStart,
        *,
        new: bool,
    ) -> dict[TopicPartition, int]:
        """Return the positions of the setting. For a group that has started: as of its start."""
        if self._start.at == "earliest":
            return dict(await consumer.beginning_offsets(partitions))
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        if self._start.at == "latest" and new:
            return ends
        since = start.time_ms - int(self._start.seconds * 1000)
        if not new:
            since -= CLOCKS_DIFFER_MS
        return await first_since(consumer, dict.fromkeys(partitions, since), ends)

    async def _committed(self, consumer: AIOKafkaConsumer) -> Committed:
        """Return all that the group has committed on our topics."""
        found = await insist(lambda: group_offsets(consumer), ANSWER_WITHIN)
        return {tp: c for tp, c in found.items() if self._wanted.wants(tp.topic)}


async def first_since(
    consumer: AIOKafkaConsumer,
    since_ms: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Return the offsets of the first records of these times or later; `ends` where none is."""
    times = {tp: max(0, time_ms) for tp, time_ms in since_ms.items()}
    found = await consumer.offsets_for_times(times)
    return {tp: found[tp].offset if found.get(tp) else ends[tp] for tp in times}
