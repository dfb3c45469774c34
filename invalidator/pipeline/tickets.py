"""Sweeps, the edge, and second passes (`repeat_after`) that applied batches still wait for.

Their events are not acknowledged meanwhile, so that a restart loses neither: it makes both passes
again. The names wait in memory and count towards the bytes in flight; reading waits at the bound.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Final

import structlog
from msgspec import Struct

from invalidator.model import Failure, Names, Outcome, Plan
from invalidator.pipeline.inflight import InFlight
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.logs import Repeats

log = structlog.get_logger("invalidator")

AROUND: Final = 100  # bytes that a name takes in memory besides its letters
REMEMBERED: Final = 64  # sweeps whose failures were reported

Passes = Mapping[float, Mapping[str, Names]]  # by their delay, then by their cache
Apply = Callable[[Mapping[str, Names], RuleSet], Awaitable[Outcome]]


class Waited(Struct, frozen=True):
    """The result of waiting for a batch's tickets."""

    failures: list[Failure]
    left: bool = False  # its second pass is due after our end: it must not be acknowledged


class Waits:
    """An applied batch that waits for its tickets."""

    def __init__(
        self, due: float, wait: Callable[["Waits"], Coroutine[object, object, Waited]]
    ) -> None:
        self.due = due  # nothing is over before; moved while a server is unavailable
        self.task = asyncio.create_task(wait(self), name="tickets")


class Tickets:
    """The tickets of one source's batches."""

    def __init__(
        self,
        source: str,
        apply: Apply,
        in_flight: InFlight,
        clock: Callable[[], float],
        *,
        forgets: bool,
    ) -> None:
        """`forgets` says that the source never delivers again what was not acknowledged."""
        self.early = 0  # second passes that a drain brought forward
        self._source = source
        self._apply = apply
        self._in_flight = in_flight
        self._bytes = 0  # of names that wait
        self._clock = clock
        self._forgets = forgets
        self._turn = asyncio.Lock()  # many may be due when a Redis becomes available
        self._last = float("inf")  # nothing that is due later can be waited for
        self._ending = asyncio.Event()
        self._tasks: set[asyncio.Task[Waited]] = set()
        self._repeats = Repeats(clock)
        self._reported: deque[Sequence[Failure]] = deque(maxlen=REMEMBERED)

    def begin(self, outcome: Outcome, plan: Plan, rules: RuleSet) -> Waits:
        """Start to wait for what a batch that was just applied asks for."""
        names, size = _kept(plan.repeats, _awaited(plan, rules) if outcome.sweeps else ())
        waits = Waits(
            self._clock() + max(plan.repeats, default=0.0),
            partial(self._wait, outcome, plan.repeats, rules),
        )
        self._tasks.add(waits.task)
        self._keep(names, size)
        waits.task.add_done_callback(partial(self._over, names, size))
        return waits

    @property
    def waiting(self) -> int:
        """Return how many batches wait."""
        return len(self._tasks)

    def end_by(self, deadline: float) -> None:
        """Stop waiting for second passes that are due after the deadline."""
        if deadline < self._last:
            self._last = deadline
            self._ending.set()

    def cancel(self) -> None:
        """Give up all waits."""
        for task in self._tasks:
            task.cancel()

    async def _wait(self, outcome: Outcome, passes: Passes, rules: RuleSet, waits: Waits) -> Waited:
        failures = await self._swept(outcome)
        applied_at = self._clock()  # at the edge, too
        waits.due = applied_at + max(passes, default=0.0)
        failed = {(entry.cache, entry.kind, entry.name) for entry in outcome.failures}
        for delay, names in sorted(passes.items()):
            if not await self._is_due(applied_at + delay):
                return Waited(failures, left=True)
            async with self._turn:
                again = await self._apply(names, rules)
            failures += await self._swept(again)
            failures += [e for e in again.failures if (e.cache, e.kind, e.name) not in failed]
        return Waited(failures)

    async def _swept(self, outcome: Outcome) -> list[Failure]:
        """Return what its sweeps could not delete. Of several batches that wait for one sweep, the
        first one reports that: the others are acknowledged after it."""
        failures: list[Failure] = []
        for sweep in outcome.sweeps:
            found = await sweep.wait()
            if found and not any(found is known for known in self._reported):
                self._reported.append(found)
                failures += found
        return failures

    async def _is_due(self, at: float) -> bool:
        """Wait until then; return whether the pass is to be made. It is made too early where the
        choice is now or never."""
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

    def _keep(self, names: int, size: int) -> None:
        metrics.WAITING.inc(names)
        self._bytes += size
        self._in_flight.add(0, size)
        bound = self._in_flight.most_bytes
        crowded = self._in_flight.bytes >= bound and self._bytes >= bound / 2
        if crowded and self._repeats.admit("crowded") is not None:
            log.warning(
                "waiting-names-fill-memory",
                source=self._source,
                bytes=self._bytes,
                advice="reading pauses while they wait: shorten repeat_after, or raise "
                "INVALIDATOR_IN_FLIGHT__BYTES",
            )

    def _over(self, names: int, size: int, task: "asyncio.Task[Waited]") -> None:
        self._tasks.discard(task)
        metrics.WAITING.dec(names)
        self._bytes -= size
        self._in_flight.remove(0, size)


def _awaited(plan: Plan, rules: RuleSet) -> Iterator[set[str]]:
    """Yield the names that a sweep or the edge has yet to forget."""
    for cache, names in plan.caches.items():
        if rules.caches[cache].at_edge:
            yield from _groups(names)
        else:
            yield names.patterns


def _kept(passes: Passes, awaited: Iterable[set[str]]) -> tuple[int, int]:
    """Return how many names wait, and how many bytes they take."""
    count = size = 0
    repeated = (names for caches in passes.values() for names in caches.values())
    for group in chain(awaited, chain.from_iterable(map(_groups, repeated))):
        count += len(group)
        size += sum(map(len, group)) + AROUND * len(group)
    return count, size


def _groups(names: Names) -> tuple[set[str], ...]:
    return names.keys, names.patterns, names.tags, names.versions
