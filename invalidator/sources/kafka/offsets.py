"""Where a Kafka consumer group stands, and where it begins when it stands nowhere yet.

A group starts once, with its first member. The commits carry when that was and how many partitions
each topic had: so a member that finds a partition without a position knows whether it was there at
the start (then the setting applies, as of the start) or was added later (then everything in it is
new, and it is read from its beginning).

They also carry which cache servers have applied all before them, and from which time on events are
to be read again where others answer now: so a failover that no member saw is found by the next one.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import orjson
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from msgspec import Struct, field

from invalidator.errors import Unavailable
from invalidator.sources.describe import describe
from invalidator.sources.kafka.brokers import CLIENT, Brokers
from invalidator.sources.kafka.diagnose import why
from invalidator.sources.kafka.private import group_offsets
from invalidator.sources.kafka.topics import Wanted
from invalidator.sources.start import Start

Answer = TypeVar("Answer")
Committed = Mapping[TopicPartition, OffsetAndMetadata]

CLOCKS_DIFFER_MS = 60_000  # a start is another machine's time: rather read a minute too much
ADMIN_WITHIN = 12.0  # seconds that one question may take, where the first server answers
SERVER_WITHIN = 4.0  # seconds for a bootstrap server, before the next one is tried
MOST_OF_METADATA = 4000  # bytes: brokers take 4096 with a commit, unless they are told otherwise
ASK_AGAIN = 0.2  # seconds, while a coordinator is being found or loads its groups


class Note(Struct, frozen=True):
    """What a commit says of the caches; nothing, where another tool or version committed."""

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
    """When the group read for the first time, and what it found."""

    time_ms: int
    partitions: Mapping[str, int]  # how many each topic had

    def dump(self, topic: str, note: Note | None = None) -> str:
        """Return the metadata of a commit on this topic.

        Where all topics are too many, it tells of this one only.
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
        """Return what several commits tell: the earliest counts, for each topic it speaks of."""
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
    """Where to read on."""

    start: GroupStart
    positions: Mapping[TopicPartition, int]
    fresh: frozenset[TopicPartition]  # those that had no position before
    notes: Mapping[TopicPartition, Note] = field(default_factory=dict)


class GroupPositions:
    """Asks the brokers about one group and its topics."""

    def __init__(
        self,
        brokers: Brokers,
        group_id: str,
        wanted: Wanted,
        start: Start,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._brokers = brokers
        self._group = group_id
        self._wanted = wanted
        self._start = start
        self._clock = clock
        # The partitions when this process looked first: what came later is new to its group.
        self._first: dict[str, int] | None = None
        self._started: GroupStart | None = None  # since commits tell of it

    async def await_topics(self) -> list[str]:
        """Return which topics there are for us. Raises Unavailable, by name, while there is none.

        Asking for all topics creates none; subscribing to one that is absent might.
        """
        counts = await self._ask(self._partition_counts)
        if self._first is None:
            self._first = {t: n for t, n in counts.items() if self._wanted.wants(t)}
        chosen = self._wanted.choose(counts)
        if not chosen:
            missing = self._wanted.missing(counts)
            raise Unavailable("kafka", f"{self._brokers.address}: {missing}")
        return chosen

    async def find(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> Positions:
        """Return where to read these partitions on."""
        committed = await self._ask(self._committed)
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
            self.committed(start)
        notes = {tp: Note.parse(c.metadata or "") for tp, c in committed.items()}
        return Positions(start, positions, frozenset(fresh), notes)

    def committed(self, start: GroupStart) -> None:
        """Note that the group has positions from now on."""
        self._started = start

    def _start_of(self, committed: Committed) -> GroupStart:
        """Return the earliest start that a commit tells of; ours, now, where there is no commit.

        Where there were some, their topics were deleted: whatever goes by these names is new.
        Positions that another tool wrote tell nothing: then every partition without one counts
        as new, which reads too much rather than too little.
        """
        starts = [s for c in committed.values() if (s := GroupStart.parse(c.metadata or ""))]
        if starts:
            return GroupStart.of(starts)
        if self._started and not committed:
            return GroupStart(self._started.time_ms, {})
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

    async def _partition_counts(self, admin: AIOKafkaAdminClient) -> dict[str, int]:
        topics = await admin.describe_topics()
        return {topic["topic"]: len(topic["partitions"]) for topic in topics}

    async def _committed(self, admin: AIOKafkaAdminClient) -> Committed:
        """Return all that the group has committed on our topics."""
        while True:
            try:
                found = await group_offsets(admin, self._group)
                return {tp: c for tp, c in found.items() if self._wanted.wants(tp.topic)}
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(ASK_AGAIN)

    async def _ask(self, question: Callable[[AIOKafkaAdminClient], Awaitable[Answer]]) -> Answer:
        address = self._brokers.address
        within = ADMIN_WITHIN + SERVER_WITHIN * address.count(",")
        try:
            async with asyncio.timeout(within), self._admin() as admin:
                return await question(admin)
        except Exception as error:
            reason = await why(self._brokers) or describe(error)
            raise Unavailable("kafka", f"{address}: {reason}") from error

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._brokers.address,
            client_id=CLIENT,
            request_timeout_ms=int(SERVER_WITHIN * 1000),
            **self._brokers.options(),
        )
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


async def first_since(
    consumer: AIOKafkaConsumer,
    since_ms: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Return the offsets of the first records of these times or later; `ends` where none is."""
    times = {tp: max(0, time_ms) for tp, time_ms in since_ms.items()}
    found = await consumer.offsets_for_times(times)
    return {tp: found[tp].offset if found.get(tp) else ends[tp] for tp in times}
