"""The way of an event, from its source to its acknowledgement.

1. `read`      a source gives a batch of raw records and the positions that end it
2. `plan`      envelope and rules turn it into sets of names, one per cache and kind
3. `apply`     the store makes the caches forget keys, tags and versions
4. `blame`     a name that can never be applied is led back to its events
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
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import structlog

from invalidator import metrics
from invalidator.errors import Unavailable
from invalidator.health import Health, Part, Pulse
from invalidator.inflight import InFlight
from invalidator.logs import Repeats
from invalidator.model import Batch, Failure, Names, Note, Outcome, Plan, Rejection
from invalidator.retry import until_available
from invalidator.rules import Cache, RuleSet
from invalidator.settle import Applied, Line, left_alone
from invalidator.sources import Source

log = structlog.get_logger("invalidator")

T = TypeVar("T")
BURIED_TOGETHER = 100  # each carries its whole event
KEEP_ALIVE_EVERY = 5.0  # seconds without room for more, before the source is told that we live


@dataclass(frozen=True, slots=True)
class Work:
    """A batch with the rules it was read under, and what they ask for."""

    batch: Batch
    rules: RuleSet
    plan: Plan
    planned_at: float


class Caches(Protocol):
    """Where names are forgotten."""

    async def apply(self, names: Mapping[str, Names], caches: Mapping[str, Cache]) -> Outcome:
        """Raises Unavailable; then all of it may be applied again."""


class Letters(Protocol):
    """Where rejected events are kept."""

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """Raises Unavailable; then they may be put again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one pipeline takes in at a time."""

    events: int  # per batch
    event_bytes: int  # a larger event is rejected


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
        narrate: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._rules = rules
        self._store = store
        self._dead = dead
        self._in_flight = in_flight
        self._limits = limits
        self._narrate = narrate
        self._clock = clock
        self._sleep = sleep
        self._part = health.part(source.name)
        self._cache = health.part("redis")
        self._letters = health.part("dead letters")
        self._reading = health.pulse(f"{source.name} intake")
        self._working = health.pulse(f"{source.name} outflow")
        self._settling = health.pulse(f"{source.name} settlement")
        self._repeats = Repeats(clock)
        self._line = Line()
        self._tickets: set[asyncio.Task[list[Failure]]] = set()
        self._planned: asyncio.Queue[Work | None] = asyncio.Queue(maxsize=1)
        self._stopping = asyncio.Event()

    @property
    def name(self) -> str:
        return self._source.name

    async def run(self) -> None:
        """Until `stop` is called and all that was read is settled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._intake(), name=f"{self._source.name}-intake")
                tasks.create_task(self._outflow(), name=f"{self._source.name}-outflow")
                tasks.create_task(self._settlement(), name=f"{self._source.name}-settlement")
        finally:
            for ticket in self._tickets:
                ticket.cancel()
            await self._source.close()

    def stop(self) -> None:
        self._stopping.set()

    # --- intake: read, plan ---------------------------------------------------------------

    async def _intake(self) -> None:
        await self._open()
        while not self._stopping.is_set():
            await self._take(await self._read())
        await self._source.stop()
        while (rest := await self._read()) is not None:
            await self._take(rest)
        await self._planned.put(None)

    async def _open(self) -> None:
        """Connect, however long that takes; a stop ends the wait."""
        opening = asyncio.create_task(
            self._patiently(self._part, self._reading, self._source.open), name="open"
        )
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
        finally:
            for task in (opening, stopping):
                task.cancel()
            await asyncio.wait({opening, stopping})

    async def _read(self) -> Batch | None:
        room = await self._room()
        self._reading.beat()
        try:
            return await self._source.read(min(room, self._limits.events))
        except Unavailable as error:
            self._part.away(str(error))
            await self._open()
            return None

    async def _take(self, batch: Batch | None) -> None:
        if batch is None:
            return
        self._in_flight.add(batch)
        rules = self._rules()
        plan = rules.plan(batch, max_event_bytes=self._limits.event_bytes)
        work = Work(batch, rules, plan, self._clock())
        await self._waiting(lambda: self._planned.put(work))

    async def _room(self) -> int:
        while not (room := self._in_flight.room()):
            await self._waiting(self._in_flight.wait)
        return room

    async def _waiting(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait for the outflow, without the source taking us for dead."""
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_EVERY):
                    return await wait()
            except TimeoutError:
                self._reading.beat()
                await self._source.keep_alive()

    # --- outflow: apply, blame --------------------------------------------------------------

    async def _outflow(self) -> None:
        while (work := await self._beating(self._working, self._planned.get)) is not None:
            applied = await self._apply(work)
            self._in_flight.add(applied.held())
            await self._beating(self._working, partial(self._line.join, applied))
            self._in_flight.remove(work.batch)
        await self._line.end()

    async def _apply(self, work: Work) -> Applied:
        plan = work.plan
        outcome = await self._patiently(
            self._cache,
            self._working,
            lambda: self._store.apply(plan.caches, work.rules.caches),
        )
        applied_at = self._clock()
        self._pass_on(plan.notes)
        waits = None
        if outcome.sweeps or plan.repeats:
            tickets = self._wait(outcome, plan.repeats, work.rules.caches, applied_at)
            waits = asyncio.create_task(tickets, name="tickets")
            self._tickets.add(waits)
            waits.add_done_callback(self._tickets.discard)
        if self._narrate:
            self._tell(work)
        return Applied(
            work.batch.ended(),
            self._blame(work, outcome.failures),
            work.rules.hash,
            outcome,
            plan.unmatched,
            sum(names.count() for names in plan.caches.values()),
            applied_at - work.planned_at,
            waits,
        )

    def _blame(self, work: Work, failures: Sequence[Failure]) -> list[Rejection]:
        """Which events a failed name came from is worked out only now, from the batch itself."""
        if not failures:
            return work.plan.rejections
        found = {rejection.record: rejection for rejection in work.plan.rejections}
        late = work.rules.blame(work.batch, failures)
        for rejection in late:
            early = found.get(rejection.record)
            faults = early.faults + rejection.faults if early else rejection.faults
            found[rejection.record] = Rejection(rejection.record, rejection.type, faults)
        return [*found.values(), *([] if late else left_alone(self.name, failures))]

    async def _wait(
        self,
        outcome: Outcome,
        repeats: Mapping[float, Mapping[str, Names]],
        caches: Mapping[str, Cache],
        applied_at: float,
    ) -> list[Failure]:
        """What takes longer: sweeps, and second passes with sweeps of their own."""
        failures = [entry for sweep in outcome.sweeps for entry in await sweep.wait()]
        failed = {(entry.cache, entry.kind, entry.name) for entry in outcome.failures}
        for delay, names in sorted(repeats.items()):
            await self._sleep(max(0.0, applied_at + delay - self._clock()))
            again = await until_available(partial(self._store.apply, names, caches), self._cache)
            failures += [entry for sweep in again.sweeps for entry in await sweep.wait()]
            failures += [e for e in again.failures if (e.cache, e.kind, e.name) not in failed]
        return failures

    # --- settlement: wait, bury, settle -----------------------------------------------------

    async def _settlement(self) -> None:
        while (applied := await self._beating(self._settling, self._line.next)) is not None:
            await self._settle(applied)

    async def _settle(self, applied: Applied) -> None:
        rejections = applied.rejections
        if waits := applied.waits:
            failures = await self._beating(self._settling, lambda: asyncio.shield(waits))
            rejections = [*rejections, *left_alone(self.name, failures)]
        await self._bury(rejections, applied.rules)
        self._in_flight.remove(applied.held())
        await self._source.settle(applied.batch)
        self._report(applied, len(rejections))

    async def _bury(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """A few at a time: what is written is not written again when their server goes away."""
        for at in range(0, len(rejections), BURIED_TOGETHER):
            few = rejections[at : at + BURIED_TOGETHER]
            await self._patiently(
                self._letters, self._settling, partial(self._dead.put, few, rules_hash)
            )

    # --- waiting --------------------------------------------------------------------------------

    async def _beating(self, pulse: Pulse, wait: Callable[[], Awaitable[T]]) -> T:
        """Idle, and alive."""
        while True:
            pulse.beat()
            try:
                async with asyncio.timeout(KEEP_ALIVE_EVERY):
                    return await wait()
            except TimeoutError:
                continue

    async def _patiently(self, part: Part, pulse: Pulse, attempt: Callable[[], Awaitable[T]]) -> T:
        """Waiting for a server known to be away is a sign of life."""

        async def beating() -> T:
            pulse.beat()
            return await attempt()

        return await until_available(beating, part)

    # --- what people see ----------------------------------------------------------------------

    def _report(self, applied: Applied, rejected: int) -> None:
        batch, name = applied.batch, self._source.name
        for outcome, count in (
            ("applied", batch.events - applied.unmatched - rejected),
            ("unmatched", applied.unmatched),
            ("rejected", rejected),
        ):
            metrics.EVENTS.labels(name, outcome).inc(max(0, count))
        metrics.BATCHES.labels(name).inc()
        metrics.BATCH_EVENTS.labels(name).observe(batch.events)
        metrics.APPLY_SECONDS.labels(name).observe(applied.seconds)
        log.info(
            "batch",
            source=name,
            events=batch.events,
            names=applied.names,
            existed=applied.outcome.existed,
            unmatched=applied.unmatched,
            rejected=rejected,
            ms=round(applied.seconds * 1000, 1),
        )

    def _pass_on(self, notes: Mapping[tuple[str, str], Note]) -> None:
        """What an operator should know of a rule; now and then, however many events it was."""
        for (rule, word), note in notes.items():
            metrics.NOTES.labels(rule, word).inc(note.count)
            held = self._repeats.admit((rule, word))
            if held is not None:
                told = {"first": note.message} if self._narrate else {}  # it may quote the event
                log.warning(word, rule=rule, held_back=held, events=note.count, **told)

    def _tell(self, work: Work) -> None:
        """Event by event, planned once more: for a person who watches, never on the hot path."""
        for record in work.batch.records():
            told = work.rules.explain(record)
            for verdict in told.verdicts:
                if verdict.matched and told.event:
                    names: dict[str, list[str]] = {}
                    for name in verdict.names:
                        names.setdefault(name.kind, []).append(name.name)
                    log.debug("invalidated", type=told.event.type, rule=verdict.rule, **names)
