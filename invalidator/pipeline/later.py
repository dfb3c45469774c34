"""What applied batches still wait for: sweeps, and second passes (`repeat_after`).

Their events are not acknowledged meanwhile, so that a restart loses neither: it makes both passes
again. The names wait in memory and count towards the bytes in flight; reading pauses at the bound.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog
from msgspec import Struct

from invalidator.model import Failure, Names, Outcome, Plan
from invalidator.pipeline.inflight import InFlight
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.logs import Repeats

log = structlog.get_logger("invalidator")

AROUND: Final = 100  # bytes that a name takes in memory beside its letters

REMEMBERED: Final = 64  # sweeps of which it was told what they could not delete

Passes = Mapping[float, Mapping[str, Names]]  # by their delay, then by their cache
Apply = Callable[[Mapping[str, Names], RuleSet], Awaitable[Outcome]]


class Waited(Struct, frozen=True):
    """What became of what a batch waited for."""

    failures: list[Failure]
    left: bool = False  # its second pass is due when we are gone: it must not be acknowledged


class Later:
    """All that the batches of one source wait for."""

    def __init__(
        self,
        source: str,
        apply: Apply,
        in_flight: InFlight,
        clock: Callable[[], float],
        *,
        forgets: bool,
    ) -> None:
        """`forgets` says that the source never gives again what was not acknowledged."""
        self.early = 0  # second passes that a drain brought forward
        self._source = source
        self._apply = apply
        self._in_flight = in_flight
        self._clock = clock
        self._forgets = forgets
        self._turn = asyncio.Lock()  # many may be due when a Redis is back
        self._last = float("inf")  # nothing that is due after it can be waited for
        self._ending = asyncio.Event()
        self._tasks: set[asyncio.Task[Waited]] = set()
        self._repeats = Repeats(clock)
        self._told: deque[Sequence[Failure]] = deque(maxlen=REMEMBERED)
        self._unheard: set[asyncio.Task[Waited]] = set()

    def begin(self, outcome: Outcome, plan: Plan, rules: RuleSet) -> "asyncio.Task[Waited] | None":
        """Wait for what a batch that was just applied asks for. None: for nothing."""
        if not (outcome.sweeps or plan.repeats):
            return None
        names, size = _held(plan.repeats, plan.caches if outcome.sweeps else {})
        waiting = self._wait(outcome, plan.repeats, rules, self._clock())
        task = asyncio.create_task(waiting, name="later")
        self._tasks.add(task)
        self._hold(names, size)
        task.add_done_callback(partial(self._over, names, size))
        return task

    def unheard(self, task: "asyncio.Task[Waited] | None") -> None:
        """Its batch is held, and will be planned again: what it finds nobody hears of now."""
        if task and not task.done():
            self._unheard.add(task)

    @property
    def waiting(self) -> int:
        """Batches that wait."""
        return len(self._tasks)

    def end_by(self, deadline: float) -> None:
        """What is due later is not waited for any more."""
        if deadline < self._last:
            self._last = deadline
            self._ending.set()

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _wait(
        self, outcome: Outcome, passes: Passes, rules: RuleSet, applied_at: float
    ) -> Waited:
        failures = await self._swept(outcome)
        failed = {(entry.cache, entry.kind, entry.name) for entry in outcome.failures}
        for delay, names in sorted(passes.items()):
            if not await self._due(applied_at + delay):
                return Waited(failures, left=True)
            async with self._turn:
                again = await self._apply(names, rules)
            failures += await self._swept(again)
            failures += [e for e in again.failures if (e.cache, e.kind, e.name) not in failed]
        return Waited(failures)

    async def _swept(self, outcome: Outcome) -> list[Failure]:
        """What its sweeps could not delete. Of a sweep that many wait for, the first one tells:
        the others are acknowledged after it."""
        failures: list[Failure] = []
        for sweep in outcome.sweeps:
            found = await sweep.wait()
            if asyncio.current_task() in self._unheard:
                continue
            if found and not any(found is known for known in self._told):
                self._told.append(found)
                failures += found
        return failures

    async def _due(self, at: float) -> bool:
        """Wait for it. Whether the pass is to be made: too early where it is now or never."""
        try:
            async with asyncio.timeout(max(0.0, at - self._clock())):
                await self._ending.wait()
        except TimeoutError:
            return True
        if at > self._last:
            self.early += self._forgets
            return self._forgets
        await asyncio.sleep(at - self._clock())
        return True

    def _hold(self, names: int, size: int) -> None:
        metrics.WAITING.inc(names)
        self._in_flight.hold(size)
        if self._in_flight.crowded and self._repeats.admit("crowded") is not None:
            log.warning(
                "waiting-names-fill-memory",
                source=self._source,
                bytes=self._in_flight.held,
                advice="reading pauses while they wait: shorten repeat_after, or raise "
                "INVALIDATOR_IN_FLIGHT__BYTES",
            )

    def _over(self, names: int, size: int, task: "asyncio.Task[Waited]") -> None:
        self._tasks.discard(task)
        self._unheard.discard(task)
        metrics.WAITING.dec(names)
        self._in_flight.release(size)


def _held(passes: Passes, swept: Mapping[str, Names]) -> tuple[int, int]:
    """How many names wait, and how many bytes they take."""
    count = size = 0
    groups = [
        group
        for caches in passes.values()
        for names in caches.values()
        for group in (names.keys, names.patterns, names.tags, names.versions)
    ]
    for group in (*groups, *(names.patterns for names in swept.values())):
        count += len(group)
        size += sum(map(len, group)) + AROUND * len(group)
    return count, size
