"""The way of an event, from its source to its acknowledgement.

1. `read`    a source returns a batch of raw records and the positions that end it
2. `plan`    envelope and rules turn it into sets of names, one per cache and kind
3. `judge`   a topic of which the rules reject most is paused; its events are left out
4. `apply`   the caches forget keys, tags and versions
5. `blame`   a name that can never be applied is traced back to its events
6. `wait`    for what takes longer: a sweep that began after the read, a second pass
7. `bury`    rejected events are written to the dead letters
8. `settle`  only then are the positions acknowledged, in order

Reading and planning (`_intake`) run while the last batch is applied (`_outflow`), and batches that
wait for a sweep (`Settlement`) hold up neither. While a server is unavailable they stop where they
are: nothing is acknowledged, nothing is a dead letter, and all continues automatically.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence

from invalidator.errors import Unavailable
from invalidator.model import Batch, Cause, Failure, Names, Outcome, Plan, Rejection
from invalidator.pipeline.inflight import InFlight, Limits
from invalidator.pipeline.pause import Pause
from invalidator.pipeline.reasons import Reasons
from invalidator.pipeline.reject_brake import RejectBrake
from invalidator.pipeline.report import Reporter
from invalidator.pipeline.samples import Hits, Sampler
from invalidator.pipeline.settlement import Letters, Settlement, unexplained
from invalidator.pipeline.tail import Tail
from invalidator.pipeline.tickets import Tickets
from invalidator.pipeline.tracing import Spans
from invalidator.pipeline.verifier import Verifier
from invalidator.pipeline.work import Applied, Work
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.retry import rest, until_available
from invalidator.runtime.tasks import end
from invalidator.sources.source import Lag, Source
from invalidator.targets.target import Target

KEEP_ALIVE_EVERY = 5.0  # seconds, while nothing is read


class Pipeline:
    """Takes the events of one source through the rules in force to the caches."""

    def __init__(
        self,
        source: Source,
        rules: Callable[[], RuleSet],
        target: Target,
        dead: Letters,
        *,
        in_flight: InFlight,
        limits: Limits,
        health: Health,
        gate: str = "redis",
        hits: Hits | None = None,
        brake: RejectBrake | None = None,
        pause: Pause | None = None,
        narrate: bool = False,
        spans: Spans | None = None,
        verifier: Verifier | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gate` is the part of readiness that says whether batches can be applied.

        Without a `brake`, whatever rules reject becomes a dead letter.
        """
        self.name = source.name
        self._source = source
        self._rules = rules
        self._target = target
        self._in_flight = in_flight
        self._limits = limits
        self._most = limits.events  # of the next batch
        self._failed_reads = 0  # since the last good one
        self._sampler = Sampler(limits.event_bytes)
        self._hits = hits
        self._brake = brake
        self._pause = pause or Pause(health)
        self._clock = clock
        self._part = health.part(source.name)
        self._cache = health.part(gate)
        self._account = health.unsettled(source.name)
        self._reporter = Reporter(
            source.name, narrate=narrate, clock=clock, spans=spans, verifier=verifier
        )
        self._tickets = Tickets(
            source.name, self._apply_again, in_flight, clock, forgets=source.forgets
        )
        letters = health.part("dead letters")
        self._settlement = Settlement(
            source, dead, letters, in_flight, self._reporter, self._account
        )
        self._planned: asyncio.Queue[Work | None] = asyncio.Queue(maxsize=1)
        self._stopping = asyncio.Event()

    @property
    def tickets(self) -> int:
        """Return how many applied batches wait for a sweep or a second pass."""
        return self._tickets.waiting

    @property
    def oldest(self) -> float:
        """Return the age of the oldest event that was read and is not settled, in seconds."""
        paused = self._brake.oldest if self._brake else 0.0
        return max(paused, self._reporter.oldest)

    @property
    def reasons(self) -> Reasons:
        """Return why events were rejected."""
        return self._reporter.reasons

    @property
    def tail(self) -> Tail:
        """Return what tells watchers about names as they are applied."""
        return self._reporter.tail

    @property
    def braked(self) -> Mapping[str, str]:
        """Return the topics that are paused because rules reject most of their events, and why."""
        return self._brake.paused if self._brake else {}

    @property
    def unmatched(self) -> Mapping[str, float]:
        """Return types that no rule matches, and how many events of each there were, about."""
        return self._sampler.unmatched.counts

    @property
    def unsettled(self) -> int:
        """Return how many batches and paused topics a drain left unsettled."""
        return self._settlement.left + len(self.braked)

    def resume(self) -> list[str]:
        """Resume paused topics, whatever the rules reject of them; return these."""
        return self._brake.resume() if self._brake else []

    def lag(self) -> Lag:
        """Return the events that are not settled, by origin and partition."""
        return self._source.lag()

    async def run(self) -> None:
        """Run until `stop` is called and all that was read is settled."""
        flow = asyncio.create_task(self._reporter.flow.run(), name=f"{self.name}-flow")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._stop_source(), name=f"{self.name}-stop")
                tasks.create_task(self._intake(), name=f"{self.name}-intake")
                tasks.create_task(self._outflow(), name=f"{self.name}-outflow")
                tasks.create_task(self._settlement.run(), name=f"{self.name}-settlement")
        finally:
            self._tickets.cancel()
            await end(flow)
            await self._source.close()
        self._reporter.ended(self._tickets.early)

    def stop(self, within: float = float("inf")) -> None:
        """Stop reading, and leave what would be waited for longer than these seconds."""
        self._tickets.end_by(self._clock() + within)
        self._stopping.set()

    # --- intake: read, plan, judge ----------------------------------------------------------

    async def _stop_source(self) -> None:
        """Stop the source immediately: a read may be waiting for a batch to fill."""
        await self._stopping.wait()
        await self._source.stop()

    async def _intake(self) -> None:
        await self._open()
        while not self._stopping.is_set():
            if self._brake and self._brake.topics:
                self._brake.review(self._rules().hash)
            await self._take_in()
        if self._brake:
            self._brake.end()
        await self._source.stop()
        while await self._take_in():
            pass
        await self._hand_on(None)

    async def _take_in(self) -> bool:
        """Read and plan a batch, once there is room; return whether there was one."""
        while self._pause.paused or not (room := self._in_flight.room()):
            await self._keep_alive_while(self._may_read())
        batch = await self._read(min(room, self._most))
        if batch is not None:
            await self._plan_batch(batch)
        return batch is not None

    async def _may_read(self) -> None:
        await self._pause.wait()
        await self._in_flight.wait()

    async def _open(self) -> None:
        """Connect, however long that takes; a stop ends the wait."""
        opening = asyncio.create_task(until_available(self._source.open, self._part), name="open")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
        finally:
            await end(opening, stopping)

    async def _read(self, limit: int) -> Batch | None:
        try:
            batch = await self._source.read(limit)
        except Unavailable as error:
            await self._reopen(error)
            return None
        if self._failed_reads and (batch is None or batch.events):  # else it only reports a gap
            self._failed_reads = 0
            self._part.ready("read")
        return batch

    async def _reopen(self, error: Unavailable) -> None:
        """Reconnect, at growing intervals where it connects and still cannot be read."""
        self._failed_reads += 1
        metrics.RETRIES.labels(self._part.name, error.code or "unavailable").inc()
        if self._failed_reads == 1:
            self._part.not_ready(str(error))
        else:  # it is ready once it was read, not once it is connected
            self._part.not_ready(str(error), "read")
            await rest(self._failed_reads - 1, self._stopping)
        await self._open()

    async def _plan_batch(self, batch: Batch) -> None:
        """Plan a batch and hand it on, in portions where it gives very many names."""
        rules, read_at, names = self._rules(), self._reporter.now(), 0
        for portion, plan in rules.portions(
            batch,
            max_event_bytes=self._limits.event_bytes,
            name_bytes=self._limits.name_bytes,
            seconds=self._limits.seconds,
        ):
            work = self._judge(portion, plan, rules, read_at)
            names += work.names
            await self._hand_on(work)
            if portion.continued:
                await asyncio.sleep(0)
        self._most = self._limits.fitting(batch.events, names)

    def _judge(self, batch: Batch, plan: Plan, rules: RuleSet, read_at: float) -> Work:
        """Return what may be applied: nothing of paused topics."""
        paused = self._brake.judge(batch, plan, rules.hash) if self._brake else None
        if paused:
            batch = batch.without(paused)
            plan = rules.plan(batch, max_event_bytes=self._limits.event_bytes)
        names = plan.names
        self._in_flight.add(batch.events, batch.size)
        self._account.read()
        sample = self._sampler.take(batch, rules)
        seen = self._reporter.planned(batch, sample, read_at)
        return Work(batch, rules, plan, names, sample, seen, self._clock())

    async def _hand_on(self, work: Work | None) -> None:
        if self._planned.full():
            await self._keep_alive_while(self._planned.put(work))
        else:
            self._planned.put_nowait(work)

    async def _keep_alive_while(self, waiting: Coroutine[object, object, object]) -> None:
        """Wait, and keep the source alive meanwhile."""
        task = asyncio.create_task(waiting)
        try:
            while not (await asyncio.wait({task}, timeout=KEEP_ALIVE_EVERY))[0]:
                await self._source.keep_alive()
        finally:
            await end(task)

    # --- outflow: apply, blame --------------------------------------------------------------

    async def _outflow(self) -> None:
        while (work := await self._planned.get()) is not None:
            applied = await self._apply(work)
            await self._settlement.join(applied)
            self._in_flight.remove(work.batch.events, work.batch.size)
        await self._settlement.end()

    async def _apply(self, work: Work) -> Applied:
        plan, rules = work.plan, work.rules
        if self._hits:
            await self._hits.look_up(work.sample.aimed, rules)
        outcome = await self._apply_names(plan.caches, rules, self.name)
        if result := work.batch.result:
            result.add(plan.caches, outcome.existed)
        applied_at = self._clock()
        waiting = outcome.sweeps or plan.repeats
        waits = self._tickets.begin(outcome, plan, rules) if waiting else None
        self._reporter.applied(work)
        return Applied(
            work.batch.ended(),
            rules,
            await self._blame(work, outcome.failures) if outcome.failures else plan.rejections,
            outcome,
            plan.unmatched,
            work.names,
            applied_at - work.planned_at,
            waits,
            work.seen,
        )

    async def _apply_again(self, names: Mapping[str, Names], rules: RuleSet) -> Outcome:
        """Make a second pass."""
        return await self._apply_names(names, rules, f"{self.name}, again")

    async def _apply_names(self, names: Mapping[str, Names], rules: RuleSet, who: str) -> Outcome:
        cause = Cause(self.name, rules.hash)
        application = self._target.application(names, rules.caches, cause)
        return await until_available(application.apply_names, self._cache, who=who)

    async def _blame(self, work: Work, failures: Sequence[Failure]) -> list[Rejection]:
        """Return all rejections: the events of a failed name are worked out only now."""
        found = {rejection.record: rejection for rejection in work.plan.rejections}
        largest = self._limits.event_bytes
        late, pause_at = False, self._clock() + self._limits.seconds
        for rejection in work.rules.blame(work.batch, failures, max_event_bytes=largest):
            if self._clock() > pause_at:
                await asyncio.sleep(0)
                pause_at = self._clock() + self._limits.seconds
            if rejection is None:
                continue
            late = True
            early = found.get(rejection.record)
            faults = early.faults + rejection.faults if early else rejection.faults
            found[rejection.record] = Rejection(rejection.record, rejection.type, faults)
        return [*found.values(), *([] if late else unexplained(self.name, failures))]
