"""The way of an event, from its source to its acknowledgement.

1. `read`      a source gives a batch of raw records and the positions that end it
2. `plan`      envelope and rules turn it into sets of names, one per cache and kind
3. `apply`     the store makes the caches forget keys, tags and versions
4. `blame`     a name that can never be applied is led back to its events; where rules reject most
               of a topic, it is held and planned again by other rules
5. `wait`      for what takes longer: a sweep that began after the read, a second pass
6. `bury`      rejected events are written to the dead letters
7. `settle`    only then are the positions acknowledged, in order

Reading and planning (`_intake`) run while the last batch is applied (`_outflow`), and batches that
wait for a sweep (`_settlement`) hold up neither. A server that is away stops them where they are:
nothing is acknowledged, nothing is a dead letter, and all goes on by itself when it is back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from invalidator.errors import Unavailable
from invalidator.model import Batch, Cause, Failure, Names, Outcome, Plan, Rejection
from invalidator.pipeline.holding import Holding
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.later import Later
from invalidator.pipeline.pause import Valve
from invalidator.pipeline.report import Reporter
from invalidator.pipeline.samples import Hits
from invalidator.pipeline.settlement import Applied, Line, left_alone
from invalidator.pipeline.tracing import Spans
from invalidator.rules import Cache, RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.retry import beating, rest, until_available
from invalidator.runtime.tasks import end
from invalidator.settings import Settings
from invalidator.sources.source import Lag, Source

PACED = 10.0  # seconds that the names of a batch may take at the brake's pace, about
BURIED_TOGETHER = 100  # each carries its whole event


class Work(Struct, frozen=True):
    """A batch with the rules it was read under, and what they ask for."""

    batch: Batch
    rules: RuleSet
    plan: Plan
    planned_at: float


class Caches(Protocol):
    """Where names are forgotten."""

    def applying(
        self, names: Mapping[str, Names], caches: Mapping[str, Cache], cause: Cause
    ) -> Callable[[], Awaitable[Outcome]]:
        """An attempt. It raises Unavailable; then it may be made again."""


class Letters(Protocol):
    """Where rejected events are kept."""

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """Raises Unavailable; then they may be put again."""


class Limits(Struct, frozen=True):
    """How much one pipeline takes in at a time."""

    events: int  # per batch
    event_bytes: int  # a larger event is rejected
    names: int = 100_000  # per batch, about: they take more memory than their events
    seconds: float = 0.5  # of planning, about: nothing else runs meanwhile

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        batch = settings.batch
        return cls(batch.max_events, batch.max_event_bytes).paced(settings.max_deletes_per_second)

    def paced(self, per_second: int) -> "Limits":
        """Where names may go so fast only (0: as they like). A batch begins anew after a failure:
        one that took an hour might never come to its end."""
        if not per_second:
            return self
        most = max(1, int(per_second * PACED))
        return replace(self, events=min(self.events, most), names=min(self.names, most))

    def fitting(self, events: int, names: int, seconds: float) -> int:
        """How many events the next batch may have, where so many had so many names and took so
        long. Events that a source tells itself say nothing about it."""
        if not events:
            return self.events
        quick = self.events if seconds <= 0 else int(events * self.seconds / seconds)
        return max(1, min(self.events, events * self.names // max(names, 1), quick))


class Pipeline:
    """One source's events, through the rules in force, to the caches."""

    def __init__(
        self,
        source: Source,
        rules: Callable[[], RuleSet],
        store: Caches,
        dead: Letters,
        *,
        in_flight: InFlight,
        limits: Limits,
        health: Health,
        gate: str = "redis",
        hits: Hits | None = None,
        holding: Holding | None = None,
        valve: Valve | None = None,
        narrate: bool = False,
        spans: Spans | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gate` is the part of readiness that says whether batches can be applied.

        Without `holding` there is no brake: whatever rules reject goes to the dead letters.
        """
        self._source = source
        self._rules = rules
        self._store = store
        self._dead = dead
        self._in_flight = in_flight
        self._limits = limits
        self._most = limits.events  # of the next batch
        self._refusals = 0  # reads that failed since the last good one
        self._hits = hits
        self._holding = holding
        self._valve = valve
        self._clock = clock
        self._part = health.part(source.name)
        self._cache = health.part(gate)
        self._letters = health.part("dead letters")
        self._reading = health.pulse(f"{source.name} intake")
        self._working = health.pulse(f"{source.name} outflow", applies=True)
        self._settling = health.pulse(f"{source.name} settlement")
        self._reporter = Reporter(
            source.name,
            max_event_bytes=limits.event_bytes,
            narrate=narrate,
            clock=clock,
            spans=spans,
        )
        self._line = Line()
        self._later = Later(source.name, self._again, in_flight, clock, forgets=source.forgets)
        self.unsettled = 0  # batches that a drain left, as a second pass was due too late
        self._planned: asyncio.Queue[Work | None] = asyncio.Queue(maxsize=1)
        self._stopping = asyncio.Event()

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def tickets(self) -> int:
        """Applied batches that wait for a sweep or a second pass."""
        return self._later.waiting

    @property
    def oldest(self) -> float:
        """Seconds since the oldest event was published that is read and not settled."""
        held = self._holding.oldest() if self._holding else 0.0
        return max(held, self._reporter.ages.oldest())

    @property
    def braked(self) -> Mapping[str, str]:
        """Topics that are held because the rules reject most of their events, and how many."""
        return self._holding.braked if self._holding else {}

    def resume(self) -> list[str]:
        """Let go what the brake holds, whatever the rules reject of it; which topics it held."""
        return self._holding.resume() if self._holding else []

    def lag(self) -> Lag:
        """Events that are not settled, by origin and partition."""
        return self._source.lag()

    async def run(self) -> None:
        """Until `stop` is called and all that was read is settled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._halt(), name=f"{self.name}-halt")
                tasks.create_task(self._intake(), name=f"{self.name}-intake")
                tasks.create_task(self._outflow(), name=f"{self.name}-outflow")
                tasks.create_task(self._settlement(), name=f"{self.name}-settlement")
        finally:
            self._later.cancel()
            await self._source.close()
        self._reporter.ended(self._later.early)

    def stop(self, within: float = float("inf")) -> None:
        """What would be waited for longer than these seconds is left."""
        self._later.end_by(self._clock() + within)
        if self._holding:
            self._holding.leave()
        self._stopping.set()

    # --- intake: read, plan ---------------------------------------------------------------

    async def _halt(self) -> None:
        """At once: a read may be waiting for a batch to fill."""
        await self._stopping.wait()
        await self._source.stop()

    async def _intake(self) -> None:
        await self._open()
        while not self._stopping.is_set():
            for held in self._holding.ready(self._rules()) if self._holding else ():
                await self._take(held)
            await self._take(await self._read())
        await self._source.stop()
        while (rest := await self._read()) is not None:
            await self._take(rest)
        for held in self._holding.forgotten() if self._holding else ():
            await self._take(held)
        await self._hand_on(None)

    async def _open(self) -> None:
        """Connect, however long that takes; a stop ends the wait."""
        opening = asyncio.create_task(
            until_available(self._source.open, self._part, pulse=self._reading), name="open"
        )
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
        finally:
            await end(opening, stopping)

    async def _read(self) -> Batch | None:
        if not (room := await self._room()):
            return None  # what is held comes first
        self._reading.beat()
        try:
            batch = await self._source.read(min(room, self._most))
        except Unavailable as error:
            await self._refused(error)
            return None
        if self._refusals and (batch is None or batch.events):  # else it tells of the break only
            self._refusals = 0
            self._part.ready("read")
        return batch

    async def _refused(self, error: Unavailable) -> None:
        """Connect anew; what connects and refuses to be read again and again is left in peace."""
        self._refusals += 1
        metrics.RETRIES.labels(self._part.name, error.code or "away").inc()
        if self._refusals == 1:
            self._part.away(str(error))
        else:  # it is ready once it was read, not once it is connected
            self._part.away(str(error), "read")
            await rest(self._refusals - 1, self._stopping)
        await self._open()

    async def _room(self) -> int:
        await beating(self._reading, self._let_in, self._source.keep_alive)
        return self._in_flight.room()

    async def _let_in(self) -> None:
        """Once nobody keeps events out, and there is room; or what is held may be let go."""
        if self._valve:
            await self._valve.wait()
        if not self._may_let_go():
            await self._in_flight.wait()

    def _may_let_go(self) -> bool:
        stopping = self._stopping.is_set()
        return bool(self._holding and not stopping and self._holding.is_due(self._rules()))

    async def _take(self, batch: Batch | None) -> None:
        if batch is None:
            return
        self._in_flight.add(batch)
        self._reporter.read(batch)
        rules, began = self._rules(), self._clock()
        plan = rules.plan(batch, max_event_bytes=self._limits.event_bytes)
        ended = self._clock()
        self._most = self._limits.fitting(batch.events, plan.names, ended - began)
        await self._hand_on(Work(batch, rules, plan, ended))

    async def _hand_on(self, work: Work | None) -> None:
        await beating(self._reading, partial(self._planned.put, work), self._source.keep_alive)

    # --- outflow: apply, blame --------------------------------------------------------------

    async def _outflow(self) -> None:
        while (work := await beating(self._working, self._planned.get)) is not None:
            whole = await self._apply(work)
            if applied := self._sift(work, whole):
                self._in_flight.add(applied.held())
                await beating(self._working, partial(self._line.join, applied))
            else:
                self._later.unheard(whole.waits)
                self._reporter.held()
            self._in_flight.remove(work.batch)
        await self._line.end()

    def _sift(self, work: Work, applied: Applied) -> Applied | None:
        """The brake: without what is held, to be planned again by other rules."""
        if self._holding is None:
            return applied
        return self._holding.sift(work.batch, work.plan, applied)

    async def _apply(self, work: Work) -> Applied:
        plan = work.plan
        if self._hits:
            await self._hits.look(work.batch, work.rules)
        outcome = await until_available(
            self._store.applying(plan.caches, work.rules.caches, self._cause(work.rules)),
            self._cache,
            who=self.name,
            pulse=self._working,
        )
        applied_at = self._clock()
        waits = self._later.begin(outcome, plan, work.rules)
        self._reporter.applied(work.batch, work.rules, plan)
        return Applied(
            work.batch.ended(),
            self._blame(work, outcome.failures),
            work.rules,
            outcome,
            plan.unmatched,
            plan.names,
            applied_at - work.planned_at,
            waits,
        )

    def _blame(self, work: Work, failures: Sequence[Failure]) -> list[Rejection]:
        """Which events a failed name came from is worked out only now, from the batch itself."""
        if not failures:
            return work.plan.rejections
        found = {rejection.record: rejection for rejection in work.plan.rejections}
        largest = self._limits.event_bytes
        late = work.rules.blame(work.batch, failures, max_event_bytes=largest)
        for rejection in late:
            early = found.get(rejection.record)
            faults = early.faults + rejection.faults if early else rejection.faults
            found[rejection.record] = Rejection(rejection.record, rejection.type, faults)
        return [*found.values(), *([] if late else left_alone(self.name, failures))]

    async def _again(self, names: Mapping[str, Names], rules: RuleSet) -> Outcome:
        """A second pass."""
        return await until_available(
            self._store.applying(names, rules.caches, self._cause(rules)),
            self._cache,
            who=f"{self.name}, again",
        )

    def _cause(self, rules: RuleSet) -> Cause:
        return Cause(self.name, rules.hash)

    # --- settlement: wait, bury, settle -----------------------------------------------------

    async def _settlement(self) -> None:
        while (applied := await beating(self._settling, self._line.next)) is not None:
            if self.unsettled or not await self._settle(applied):
                self.unsettled += 1  # and all behind it, for the order's sake
        self.unsettled += self._holding.batches if self._holding else 0

    async def _settle(self, applied: Applied) -> bool:
        """Whether it could be: a drain does not wait for everything."""
        rejections = applied.rejections
        if waits := applied.waits:
            waited = await beating(self._settling, lambda: asyncio.shield(waits))
            if waited.left:
                return False
            rejections = [*rejections, *left_alone(self.name, waited.failures)]
        await self._bury(rejections, applied.rules.hash)
        self._in_flight.remove(applied.held())
        await self._source.settle(applied.batch)
        self._reporter.settled(applied, rejections)
        return True

    async def _bury(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """A few at a time: what is written is not written again when their server goes away."""
        for at in range(0, len(rejections), BURIED_TOGETHER):
            few = rejections[at : at + BURIED_TOGETHER]
            put = partial(self._dead.put, few, rules_hash)
            await until_available(put, self._letters, who=self.name, pulse=self._settling)
