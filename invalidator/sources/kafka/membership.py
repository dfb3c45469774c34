"""Our place in a Kafka consumer group: which partitions are ours, and what we commit for them.

Everything belongs to an epoch, which is one assignment. What was read under it may be committed
under it only: after that another member may have read the same records, and read on.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from invalidator.runtime.health import Part
from invalidator.sources.describe import describe
from invalidator.sources.kafka.assignment import Epoch
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import (
    Refused,
    Timing,
    ask,
    commit,
    generation,
    known_ends,
    member_id,
    positions,
    share_out,
)
from invalidator.sources.kafka.diagnose import why
from invalidator.sources.kafka.offsets import GroupPositions
from invalidator.sources.kafka.progress import Progress
from invalidator.sources.kafka.static import StaticName
from invalidator.sources.source import Lag
from invalidator.sources.trail import TIMELESS, Eras

log = structlog.get_logger("invalidator")

COMMIT_EVERY = 0.2  # seconds: a commit per batch would burden the brokers when batches are small
COMMIT_WITHIN = 10.0  # seconds; the library would retry for ever
LAST_COMMIT_WITHIN = 4.0  # seconds
ASK_WHILE_BUSY = 3  # every third time only


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # it ships no types
    """Lives as long as one consumer. The library calls it, and swallows what it raises."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        brokers: Brokers,
        positions: GroupPositions,
        timing: Timing,
        part: Part,
        *,
        commits: bool = True,
        instance_id: str = "",
        eras: Eras = TIMELESS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = StaticName(instance_id) if instance_id else None
        self._commits = commits  # a dry run leaves no position
        self.epoch = Epoch()
        self.failure = ""  # why the assignment could not be taken up
        self.assigned = asyncio.Event()  # not set while the group rebalances
        self.busy = False  # records came since the brokers were last asked
        self.reads = 0  # polls so far
        self.missing = ""  # which topics are not there
        self.stalled: list[TopicPartition] = []  # what has more to read, and stands still
        self._ends: Mapping[TopicPartition, int] = {}  # of the logs, as last told
        self._progress = Progress(timing.stalled_after)
        self._consumer = consumer
        self._brokers = brokers
        self._positions = positions
        self._timing = timing
        self._part = part
        self._eras = eras
        self._clock = clock
        self._committing = asyncio.Lock()  # an older commit must never overtake a newer one
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self._tasks = [
            asyncio.create_task(self._commit_for_ever(), name="kafka-committer"),
            asyncio.create_task(self._ask_for_ever(), name="kafka-watch"),
        ]

    async def end(self) -> None:
        """Commit what was settled. The consumer may be stopped then."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        self.epoch.drained.set()  # a rebalance that waits for us would hold up the stop
        try:
            async with asyncio.timeout(LAST_COMMIT_WITHIN):
                await self.commit()
        except TimeoutError:
            log.warning(
                "commit-given-up", reason="no answer in time", read_again="at the next start"
            )

    def trouble(self) -> str:
        """Why nothing can be read or committed any more; empty while all is well."""
        dead = [task.get_name() for task in self._tasks if task.done()]
        return self.failure or "".join(f"{name} ended" for name in dead)

    def lag(self) -> Lag:
        """What is behind our settled positions. Markers of transactions at the end are nothing."""
        came, read, next_ = known_ends(self._consumer), positions(self._consumer), self.epoch.next
        found = {}
        for tp, done in self.epoch.done.items():
            end = max(came.get(tp, 0), self._ends.get(tp, 0))
            all_done = done == next_.get(tp) and read.get(tp, -1) >= end
            found[tp.topic, str(tp.partition)] = 0 if all_done else max(0, end - done)
        return found

    def say_ready(self) -> None:
        """Unless a partition cannot be read, or a topic is not there."""
        if lacking := [*self.epoch.aside.values(), *filter(None, [self.missing])]:
            self._part.away(f"{self._brokers.address}: {'; '.join(lacking)}")
        elif self.assigned.is_set() and not self.failure:
            self._part.ready()

    def subscribe(self, topics: Sequence[str]) -> None:
        """Nothing can be read until the group has given us partitions of them."""
        self.assigned.clear()
        self._consumer.subscribe(topics=list(topics), listener=self)

    # --- rebalances ---------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let batches in work be settled and committed before others may read on."""
        self.assigned.clear()
        try:
            if set(revoked):
                await self._drain()
                await self.commit()
        finally:
            self.epoch = Epoch()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = sorted(assigned)
        if self._name and (reason := self._name.taken(member_id(self._consumer))):
            self.failure = reason
            self.assigned.set()
            return
        try:
            self.epoch = await self._take_up(partitions)
        except Refused:
            return  # the group has moved on already, and calls us again
        except Exception as error:  # noqa: BLE001 - the library would swallow it, and we stall
            self.failure = f"no position for the assigned partitions: {describe(error)}"
            self.assigned.set()
            return
        self.assigned.set()
        self.say_ready()
        log.info("assigned", source="kafka", partitions=[f"{t}-{p}" for t, p in partitions])

    async def _take_up(self, partitions: Sequence[TopicPartition]) -> Epoch:
        """A start is committed before anything is read: else a crash now would move it."""
        share_out(self._consumer, len(partitions))
        found = await self._positions.find(self._consumer, partitions)
        stands = found.stands(self._eras.current, self._eras.most, self._clock())
        epoch = Epoch(generation(self._consumer), found.birth, found.positions, stands)
        if found.fresh:
            fresh = {tp: found.positions[tp] for tp in found.fresh}
            await self._commit_start(epoch, fresh)
            if self._commits:
                self._positions.committed(found.birth)
        for tp, position in found.positions.items():
            self._consumer.seek(tp, position)
        return epoch

    async def _commit_start(self, epoch: Epoch, fresh: Mapping[TopicPartition, int]) -> None:
        async with asyncio.timeout(COMMIT_WITHIN):
            while True:
                try:
                    return await self._put(epoch, fresh)
                except KafkaError as error:
                    if not error.retriable:
                        raise
                await asyncio.sleep(COMMIT_EVERY)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._timing.drain):
                await self.epoch.drained.wait()
        except TimeoutError:
            log.warning("rebalance-did-not-wait", batches=self.epoch.given, read_again="elsewhere")

    # --- committing ---------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit what was settled. What fails now is tried again with the next."""
        async with self._committing:
            epoch = self.epoch
            settled, epoch.settled = epoch.settled, {}
            if settled:
                await self._try_to_commit(epoch, settled)

    async def _try_to_commit(self, epoch: Epoch, settled: dict[TopicPartition, int]) -> None:
        try:
            async with asyncio.timeout(COMMIT_WITHIN):
                await self._put(epoch, settled)
        except Refused as refused:
            log.warning("commit-refused", reason=str(refused), read_again="by the new owner")
        except asyncio.CancelledError:
            epoch.settled = settled | epoch.settled
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # else the library's own, when it lost a connection
        except Exception as error:  # noqa: BLE001 - a committer that died would be noticed late
            log.warning("commit-delayed", reason=describe(error))
            epoch.settled = settled | epoch.settled

    async def _put(self, epoch: Epoch, offsets: Mapping[TopicPartition, int]) -> None:
        if self._commits:
            await commit(self._consumer, epoch.generation, epoch.commits(offsets))

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            await self.commit()

    # --- whether anybody is there ---------------------------------------------------------

    async def _ask_for_ever(self) -> None:
        """Less often while records come: they are answer enough, but not from every partition."""
        rounds = reads = 0
        while True:
            await asyncio.sleep(self._timing.ask_every)
            rounds += 1
            busy, self.busy = self.busy, False
            if busy and rounds % ASK_WHILE_BUSY:
                continue
            ends = await self._ask(say=not busy)
            if reads == self.reads:
                self._progress.forget()
            elif ends:
                self._look(ends)
            reads = self.reads

    def _look(self, ends: Mapping[TopicPartition, int]) -> None:
        at = {tp: n for tp, n in positions(self._consumer).items() if tp not in self.epoch.aside}
        self.stalled = self._progress.look(asyncio.get_running_loop().time(), at, ends)

    async def _ask(self, *, say: bool) -> Mapping[TopicPartition, int]:
        """Where the logs end, for all that we read; `say` it where nobody answers."""
        try:
            async with asyncio.timeout(self._timing.answer):
                ends = await ask(self._consumer)
        except TimeoutError:
            reason = f"no answer within {self._timing.answer:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it was, no broker answered
            reason = describe(error)
        else:
            self.say_ready()
            self._ends = ends
            return ends
        if say:
            await self._away(reason)
        return {}

    async def _away(self, reason: str) -> None:
        """Said at once; then with more of a reason, where knocking gives one."""
        self._part.away(f"{self._brokers.address}: {reason}")
        if known := await why(self._brokers):
            self._part.away(f"{self._brokers.address}: {known}")
