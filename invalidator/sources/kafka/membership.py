"""Our membership in a Kafka consumer group: which partitions are ours, and what we commit for them.

Everything belongs to an assignment. What was read under it may be committed under it only: after
that another member may have read the same records, and more.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import structlog
from aiokafka import (
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    OffsetAndMetadata,
    TopicPartition,
)

from invalidator.runtime.health import Part
from invalidator.runtime.tasks import end
from invalidator.sources.kafka.assignment import Assignment, partitions_of
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Progress, Timing, ends_of, share_out
from invalidator.sources.kafka.offsets import GroupPositions, Positions
from invalidator.sources.kafka.private import (
    Refused,
    commit,
    describe,
    generation,
    insist,
    known_ends,
    positions,
    trouble,
)
from invalidator.sources.reread import UNWATCHED, Servers
from invalidator.sources.source import Lag

log = structlog.get_logger("invalidator")

COMMIT_EVERY = 0.2  # seconds: a commit per batch would burden the brokers when batches are small
STORE_EVERY = 15.0  # seconds: what is stored is needed only where the brokers forget the group
COMMIT_WITHIN = 10.0  # seconds; the library would retry for ever
LAST_COMMIT_WITHIN = 4.0  # seconds


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # it ships no types
    """One consumer's membership. The library calls it, and swallows what it raises."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        brokers: Brokers,
        positions: GroupPositions,
        timing: Timing,
        part: Part,
        *,
        commits: bool = True,
        servers: Servers = UNWATCHED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.consumer = consumer
        self.assignment = Assignment()
        self.assigned = asyncio.Event()  # not set while the group rebalances
        self.failure = ""  # why nothing can be read or committed any more
        self.missing = ""  # which topics do not exist, as a sentence
        self.busy = False  # records came since the brokers were last asked
        self.reads = 0  # so far
        self.stalled: list[TopicPartition] = []  # those that have more to read, and do not move
        self._commits = commits  # a dry run leaves no position
        self._paused: frozenset[str] = frozenset()  # topics
        self._ends: Mapping[TopicPartition, int] = {}  # of the logs, when last asked
        self._progress = Progress(timing.stalled_after)
        self._brokers = brokers
        self._positions = positions
        self._timing = timing
        self._part = part
        self._servers = servers
        self._clock = clock
        self._committing = asyncio.Lock()  # an older commit must never overtake a newer one
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Commit and watch from now on."""
        self._tasks = [
            asyncio.create_task(self._commit_for_ever(), name="kafka-committer"),
            asyncio.create_task(self._watch_for_ever(), name="kafka-watch"),
            asyncio.create_task(self._store_for_ever(), name="kafka-offsets"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if task in self._tasks:
            self.failure = self.failure or f"{task.get_name()} ended"

    async def end(self) -> None:
        """Commit what was settled. The consumer may be stopped then."""
        tasks, self._tasks = self._tasks, []
        await end(*tasks)
        self.assignment.drained.set()  # a rebalance that waits for us would hold up the stop
        try:
            async with asyncio.timeout(LAST_COMMIT_WITHIN):
                await self.commit_positions()
        except TimeoutError:
            reason = "no answer in time"
            log.warning("kafka-commit-abandoned", reason=reason, read_again="at the next start")
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_COMMIT_WITHIN):
                await self._positions.store(self.assignment.done)

    def check(self) -> None:
        """Note why the client will never return a record again, if that is so."""
        self.failure = self.failure or trouble(self.consumer)

    def lag(self) -> Lag:
        """Return how many offsets are behind our positions."""
        came, asked = known_ends(self.consumer), self._ends
        return {
            (tp.topic, str(tp.partition)): max(
                0, came.get(tp, 0) - p.done, asked.get(tp, 0) - p.done
            )
            for tp, p in self.assignment.partitions.items()
        }

    def say_ready(self) -> None:
        """Report that Kafka is available, unless a partition or topic cannot be read."""
        if lacking := [*self.assignment.problems.values(), *filter(None, [self.missing])]:
            self._part.not_ready(f"{self._brokers.address}: {'; '.join(lacking)}")
        elif self.assigned.is_set() and not self.failure:
            self._part.ready()

    def note_records(self) -> None:
        """Note that records came: the brokers are available."""
        self.busy = True
        self.say_ready()

    def pause(self, topics: frozenset[str]) -> None:
        """Pause exactly these topics, in this assignment and in those to come."""
        self._paused = topics
        self.assignment.pause(topics)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group for these topics: nothing is read until it has given us partitions."""
        self.assigned.clear()
        self.consumer.subscribe(topics=list(topics), listener=self)

    # --- rebalances ---------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Settle and commit the batches in work before other members continue."""
        self.assigned.clear()
        try:
            if set(revoked):
                await self._drain()
                await self.commit_positions()
        finally:
            self.assignment = Assignment()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Find out where to continue in the new partitions."""
        partitions = sorted(assigned)
        try:
            self.assignment = await self._take_up(partitions)
        except Refused:
            return  # the group has moved on already, and calls us again
        except Exception as error:  # noqa: BLE001 - the library would swallow it, and we stall
            self.failure = f"no position for the assigned partitions: {describe(error)}"
            self.assigned.set()
            return
        self.assigned.set()
        self.say_ready()
        log.info("kafka-assigned", source="kafka", partitions=[f"{t}-{p}" for t, p in partitions])

    async def _take_up(self, partitions: Sequence[TopicPartition]) -> Assignment:
        """Commit where we begin before anything is read: else a crash now would move it."""
        share_out(self.consumer, len(partitions))
        found = await self._positions.find(self.consumer, partitions)
        places = partitions_of(found, self._clock(), self._servers)
        assignment = Assignment(generation(self.consumer), found.start, places)
        assignment.pause(self._paused)
        if found.fresh:
            await insist(lambda: self._put_first(assignment, found), COMMIT_WITHIN)
            if self._commits:
                self._positions.started = found.start
        assignment.steer(self.consumer)
        return assignment

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._timing.drain):
                await self.assignment.drained.wait()
        except TimeoutError:
            batches = self.assignment.given
            log.warning("kafka-drain-timeout", batches=batches, read_again="elsewhere")

    # --- committing ---------------------------------------------------------------------

    async def commit_positions(self) -> None:
        """Commit what was settled. What fails now is committed with the next."""
        async with self._committing:
            assignment = self.assignment
            partitions, assignment.to_commit = assignment.to_commit, set()
            if partitions:
                await self._try_to_commit(assignment, partitions)

    async def _try_to_commit(self, assignment: Assignment, partitions: set[TopicPartition]) -> None:
        try:
            async with asyncio.timeout(COMMIT_WITHIN):
                await self._put(assignment, partitions)
        except Refused:
            reason = "the group has rebalanced without us"
            log.warning("kafka-commit-rejected", reason=reason, read_again="by the new owner")
        except asyncio.CancelledError:
            assignment.to_commit |= partitions
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # else the library's own, when it lost a connection
        except Exception as error:  # noqa: BLE001 - a committer that died would be noticed late
            log.warning("kafka-commit-delayed", reason=describe(error))
            assignment.to_commit |= partitions

    async def _put(self, assignment: Assignment, partitions: Iterable[TopicPartition]) -> None:
        if self._commits:
            offsets = assignment.commits(partitions, self._clock())
            await commit(self.consumer, assignment.generation, offsets)

    async def _put_first(self, assignment: Assignment, found: Positions) -> None:
        """Commit where partitions without a position begin; those of other members as well, where
        the brokers have forgotten them all."""
        if self._commits:
            offsets = assignment.commits(found.fresh, self._clock())
            for tp, at in found.others.items():
                offsets[tp] = OffsetAndMetadata(at, found.start.dump(tp.topic))
            await commit(self.consumer, assignment.generation, offsets)

    async def _store_for_ever(self) -> None:
        while True:
            await asyncio.sleep(STORE_EVERY)
            await self._positions.store(self.assignment.done)

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            if self.assigned.is_set():
                self.assignment.skip(positions(self.consumer))
            await self.commit_positions()

    # --- whether the brokers are available -----------------------------------------------

    async def _watch_for_ever(self) -> None:
        """Ask the brokers, even while records come: not every partition answers by these."""
        reads = 0
        while True:
            await asyncio.sleep(self._timing.ask_every)
            self.check()
            busy, self.busy = self.busy, False
            ends = await self._ask_for_ends(say=not busy)
            problems, now = self.assignment.problems, asyncio.get_running_loop().time()
            at = {tp: n for tp, n in positions(self.consumer).items() if tp not in problems}
            still = reads == self.reads  # while nobody reads, no partition moves
            self.stalled = self._progress.stalled(now, {} if still else at, ends)
            reads = self.reads

    async def _ask_for_ends(self, *, say: bool) -> Mapping[TopicPartition, int]:
        """Return where the logs end; report, if `say`, that no broker answers."""
        try:
            async with asyncio.timeout(self._timing.answer):
                ends = await ends_of(self.consumer)
        except TimeoutError:
            reason = f"no answer within {self._timing.answer:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it was, no broker answered
            reason = describe(error)
        else:
            self.say_ready()
            self._ends = ends
            return ends
        if say and not self.busy:
            self._part.not_ready(f"{self._brokers.address}: {reason}")
            if known := await self._brokers.why():  # it takes a while to find out
                self._part.not_ready(f"{self._brokers.address}: {known}")
        return {}
