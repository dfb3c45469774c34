"""Where a Kafka consumer group stands, and where it begins when it stands nowhere yet.

A group is born once, with its first member. The commits carry when that was and how many
partitions each topic had: so a member that finds a partition without a position knows whether it
was there at the birth (then the group's start applies, as of the birth) or was added later (then
everything in it is new, and it is read from its beginning).

They also carry in which era of the caches they were made, and where the partition stood at some
times before: so a failover that nobody of the group saw is found by who reads on.
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
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from msgspec import Struct, field

from invalidator.errors import Unavailable
from invalidator.sources.describe import describe
from invalidator.sources.kafka.brokers import CLIENT, Brokers
from invalidator.sources.kafka.diagnose import why
from invalidator.sources.kafka.topics import Wanted
from invalidator.sources.start import Start
from invalidator.sources.trail import BEGINNING, Point, Stand, Trail

Answer = TypeVar("Answer")

CLOCKS_DIFFER_MS = 60_000  # a birth is another machine's time: rather read a minute too much
ADMIN_WITHIN = 12.0  # seconds that one question may take, where the first server answers
SERVER_WITHIN = 4.0  # seconds for a bootstrap server, before the next one is tried
MOST_OF_NOTE = 4000  # bytes: brokers take 4096 with a commit, unless they are told otherwise
ASK_AGAIN = 0.2  # seconds, while a coordinator is being found or loads its groups


class Birth(Struct, frozen=True):
    """When the group read for the first time, and what it found."""

    time_ms: int
    partitions: Mapping[str, int]  # how many each topic had

    def dump(self, topic: str, stand: Stand[int] | None = None) -> str:
        """For a commit on this topic: where all of them are too many, it tells of this one only."""
        note = {"v": 2, "born": self.time_ms, "had": dict(self.partitions)}
        if stand and stand.era:
            note["era"] = stand.era
            note["trail"] = [(math.ceil(at), offset) for at, offset in stand.trail.few()]
        said = orjson.dumps(note)
        if len(said) > MOST_OF_NOTE:
            note["had"] = {t: n for t, n in self.partitions.items() if t == topic}
            said = orjson.dumps(note)
        return said.decode()

    @classmethod
    def of(cls, told: Sequence["Birth"]) -> "Birth":
        """What several commits tell: the earliest counts, for each topic that it speaks of."""
        partitions: dict[str, int] = {}
        for birth in sorted(told, key=lambda birth: birth.time_ms, reverse=True):
            partitions |= birth.partitions
        return cls(min(birth.time_ms for birth in told), partitions)

    @classmethod
    def parse(cls, note: str) -> "Birth | None":
        """From a commit's metadata; None where something else committed."""
        try:
            read = orjson.loads(note)
            return cls(int(read["born"]), {str(t): int(n) for t, n in read["had"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def had(self, tp: TopicPartition) -> bool:
        return bool(tp.partition < self.partitions.get(tp.topic, 0))


class Past(Struct, frozen=True):
    """What the last commit tells of a partition's past; nothing, where something else committed."""

    era: str = ""
    points: tuple[Point[int], ...] = ()

    @classmethod
    def parse(cls, note: str) -> "Past":
        try:
            read = orjson.loads(note)
            return cls(str(read["era"]), tuple((float(t), int(o)) for t, o in read["trail"]))
        except (ValueError, KeyError, TypeError):
            return cls()


class Found(Struct, frozen=True):
    """Where to read on."""

    birth: Birth
    positions: Mapping[TopicPartition, int]
    fresh: frozenset[TopicPartition]  # those that had no position before
    pasts: Mapping[TopicPartition, Past] = field(default_factory=dict)

    def stands(self, era: str, span: float, now: float) -> dict[TopicPartition, Stand[int]]:
        """`era` is the one of now, for partitions of which nothing was applied before."""
        return {
            tp: Stand(era, Trail(span, [(BEGINNING, position)]))
            if tp in self.fresh
            else self._stand(self.pasts.get(tp, Past()), position, span, now)
            for tp, position in self.positions.items()
        }

    def _stand(self, past: Past, position: int, span: float, now: float) -> Stand[int]:
        points = [(at, offset) for at, offset in past.points if offset <= position]
        return Stand(past.era, Trail(span, points or [(now, position)]))


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
        # What there was when this process looked first: what came later is new to its group.
        self._first: dict[str, int] | None = None
        self._born: Birth | None = None  # since when commits tell of it

    async def await_topics(self) -> list[str]:
        """Which topics there are for us. Raises Unavailable, by name, while there is none.

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

    async def find(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> Found:
        committed = await self._ask(self._committed)
        birth = self._birth_of(committed)
        positions = {tp: committed[tp].offset for tp in partitions if tp in committed}
        fresh = [tp for tp in partitions if tp not in positions]
        started = [tp for tp in fresh if birth.had(tp)]
        added = [tp for tp in fresh if not birth.had(tp)]
        if started:
            positions |= await self._at_start(consumer, started, birth, newborn=not committed)
        if added:
            positions |= await consumer.beginning_offsets(added)
        if committed:
            self.committed(birth)
        pasts = {tp: Past.parse(c.metadata or "") for tp, c in committed.items()}
        return Found(birth, positions, frozenset(fresh), pasts)

    def committed(self, birth: Birth) -> None:
        """The group has positions from now on."""
        self._born = birth

    def _birth_of(self, committed: Mapping[TopicPartition, OffsetAndMetadata]) -> Birth:
        """The earliest that a commit tells of; ours, now, where there is no commit at all.

        Where there were some, their topics were deleted: whatever goes by these names is new.
        Positions that another tool wrote tell nothing: then every partition without one counts
        as new, which reads too much rather than too little.
        """
        births = [b for c in committed.values() if (b := Birth.parse(c.metadata or ""))]
        if births:
            return Birth.of(births)
        if self._born and not committed:
            return Birth(self._born.time_ms, {})
        now = int(self._clock() * 1000)
        return Birth(now, {} if committed else self._first or {})

    async def _at_start(
        self,
        consumer: AIOKafkaConsumer,
        partitions: list[TopicPartition],
        birth: Birth,
        *,
        newborn: bool,
    ) -> dict[TopicPartition, int]:
        """Where the group's start lies. `latest` in a group born elsewhere means: as of then."""
        if self._start.at == "earliest":
            return dict(await consumer.beginning_offsets(partitions))
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        if self._start.at == "latest" and newborn:
            return ends
        since = birth.time_ms - int(self._start.seconds * 1000)
        if not newborn:
            since -= CLOCKS_DIFFER_MS
        at = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        return {tp: at[tp].offset if at.get(tp) else ends[tp] for tp in partitions}

    async def _partition_counts(self, admin: AIOKafkaAdminClient) -> dict[str, int]:
        topics = await admin.describe_topics()
        return {topic["topic"]: len(topic["partitions"]) for topic in topics}

    async def _committed(
        self, admin: AIOKafkaAdminClient
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """All that the group has committed on our topics.

        The library's own question takes an error for "nothing": a group whose coordinator has
        just been restarted would look newborn, and start anew at its start.
        """
        while True:
            try:
                found = await self._offsets(admin)
                return {tp: c for tp, c in found.items() if self._wanted.wants(tp.topic)}
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(ASK_AGAIN)

    async def _offsets(self, admin: AIOKafkaAdminClient) -> dict[TopicPartition, OffsetAndMetadata]:
        coordinator = await admin.find_coordinator(self._group)
        request = OffsetFetchRequest(self._group, None)
        answer = await admin._send_request(request, coordinator)
        _raise_for(answer.error_code)
        found = {}
        for topic, partitions in answer.topics:
            for partition, offset, note, error_code in partitions:
                _raise_for(error_code)
                if offset >= 0:
                    found[TopicPartition(topic, partition)] = OffsetAndMetadata(offset, note)
        return found

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


def _raise_for(error_code: int) -> None:
    if error_code:
        raise for_code(error_code)()
