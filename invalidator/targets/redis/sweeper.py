"""Patterns: one sweep for all that wait.

Walking the keyspace costs the same for one pattern and for a thousand. So patterns gather, and
each sweep serves all that were requested before it began.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Sleep
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.runtime.retry import Backoff, until_available
from invalidator.targets.redis.moved import moved, places
from invalidator.targets.redis.patterns import Matcher
from invalidator.targets.redis.sweep_fleet import Fleet, Result, Turn
from invalidator.targets.redis.walk import Node, Pace, Progress, Ticket, Walk

T = TypeVar("T")
PACE = Pace()
BACKOFF = Backoff()
AT_ONCE = 500  # patterns that are compiled in the event loop; more, in a thread


class Sweeper:
    """Sweeps one Redis whenever somebody waits for it."""

    def __init__(
        self,
        nodes: Callable[[], Awaitable[Sequence[Node]]],
        protect: Matcher,
        part: Part,
        *,
        progress: Callable[[], None] = lambda: None,
        fleet: Fleet | None = None,
        pace: Pace = PACE,
        backoff: Backoff = BACKOFF,
        observe: Callable[[Progress], None] = lambda progress: None,
        observe_every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`nodes` returns all that have keys, or raises Unavailable; it is called before each pass.

        `progress` is called with every page, and while another member of the fleet sweeps.
        `observe` is called every `observe_every` seconds with
        the progress of a long sweep, and at the end of every sweep.
        """
        self._nodes = nodes
        self.part = part
        self._fleet = fleet
        self._progress = progress
        self._walk = Walk(
            protect, pace, progress, self._report_seldom, clock=clock, cpu=cpu, sleep=sleep
        )
        self._backoff = backoff
        self._observe = observe
        self._observe_every = observe_every
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._observed_at = clock()
        self._next: Ticket | None = None
        self._wanted = asyncio.Event()

    def request(self, patterns: Iterable[bytes]) -> Ticket:
        """Return a ticket that is done when a sweep that began after now is over.

        All who ask before that sweep begins share the ticket.
        """
        self._next = self._next or Ticket(self._clock())
        self._next.patterns.update(patterns)
        self._wanted.set()
        return self._next

    def watch(self, patterns: Iterable[bytes]) -> Ticket:
        """Make the next ticket note whether these match a key; return it. Requests no sweep."""
        self._next = self._next or Ticket(self._clock())
        self._next.watched.update(patterns)
        return self._next

    def protect(self, matcher: Matcher) -> None:
        """Spare these from now on, also in a running sweep."""
        self._walk.spared = matcher

    @property
    def waiting(self) -> int:
        """Return how many distinct patterns wait for the next sweep."""
        return len(self._next.patterns) if self._next else 0

    async def run(self) -> None:
        """Serve tickets until cancelled."""
        while True:
            await self._wanted.wait()
            ticket, self._next = self._next, None
            self._wanted.clear()
            assert ticket
            turn = await self._wait_for_turn(self._fleet, ticket) if self._fleet else None
            if ticket.done:  # another member swept for us
                continue
            with metrics.SWEEPS_RUNNING.track_inprogress():
                async with turn or contextlib.nullcontext():
                    await self._serve(ticket, turn)

    async def survey(self, patterns: Iterable[bytes]) -> Progress:
        """Count what a sweep would delete, in one pass. Raises Unavailable.

        While slots move it may miss keys, or count some twice.
        """
        progress = Progress(began=self._clock())
        self._observed_at = progress.began
        wanted = set(patterns)
        progress.patterns = len(wanted)
        nodes = [replace(node, unlink=_unlink_nothing) for node in await self._nodes()]
        await self._walk.over(nodes, await _compile(wanted), progress)
        return progress

    async def _wait_for_turn(self, fleet: Fleet, ticket: Ticket) -> Turn | None:
        """Wait until it is our turn to sweep, or another member has swept for this ticket."""
        spared = self._walk.spared.patterns
        request = await self._insist(lambda: fleet.ask(ticket.patterns, spared))
        while request:
            found = await self._insist(partial(fleet.look, request))
            if isinstance(found, Turn):
                return found
            if found:
                self._take_over(ticket, found)
                return None
            self._progress()
            await self._sleep(fleet.look_every)
        return None

    def _take_over(self, ticket: Ticket, result: Result) -> None:
        """Finish a ticket with the result of another member's sweep."""
        ticket.progress = Progress(
            refused=result.refused, failed=result.failed, ended=True, elsewhere=True
        )
        ticket.finish()
        metrics.SWEEPS_SHARED.inc()

    async def _serve(self, first: Ticket, turn: Turn | None) -> None:
        """Sweep until a pass was enough; what is requested meanwhile joins the next pass."""
        served: list[Ticket] = []
        progress = Progress(began=self._clock())
        self._observed_at = progress.began
        self._join(first, served, progress)
        others: Mapping[str, frozenset[bytes]] = {}

        async def attempt() -> str:
            nonlocal others
            self._include_waiting(served, progress)
            others = await turn.requests() if turn else {}
            patterns = set().union(*(ticket.patterns for ticket in served), *others.values())
            progress.patterns, progress.for_others = len(patterns), max(0, len(others) - 1)
            return await self._pass(await _compile(patterns), progress) if patterns else ""

        tries = 0
        while True:
            progress.again = await self._insist(attempt)
            if not progress.again:
                break
            self._report(progress)
            tries += 1
            await self._sleep(self._backoff.delay(tries, self._chance()))
        progress.ended = True
        if turn:
            result = Result(progress.refused, progress.failed)
            await self._insist(lambda: turn.finish(others, result))
        for ticket in served:
            ticket.finish()
        self._report(progress)

    def _include_waiting(self, served: list[Ticket], progress: Progress) -> None:
        self._wanted.clear()
        ticket, self._next = self._next, None
        if ticket:
            self._join(ticket, served, progress)

    def _join(self, ticket: Ticket, served: list[Ticket], progress: Progress) -> None:
        ticket.progress = progress
        progress.watch(ticket.watched & ticket.patterns)
        served.append(ticket)

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await until_available(
            attempt, self.part, backoff=self._backoff, sleep=self._sleep, chance=self._chance
        )

    async def _pass(self, matcher: Matcher, progress: Progress) -> str:
        """Walk all keys once. Return why another pass is needed, or nothing."""
        nodes = await self._nodes()
        before = await places(nodes)
        await self._walk.over(nodes, matcher, progress)
        return moved(before, await places(await self._nodes()))

    def _report_seldom(self, progress: Progress) -> None:
        if self._clock() - self._observed_at >= self._observe_every:
            self._report(progress)

    def _report(self, progress: Progress) -> None:
        self._observed_at = self._clock()
        progress.seconds = self._observed_at - progress.began
        self._observe(progress)


async def _compile(patterns: set[bytes]) -> Matcher:
    if len(patterns) < AT_ONCE:
        return Matcher(patterns)
    return await asyncio.to_thread(Matcher, patterns)


async def _unlink_nothing(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
    return 0, {}
