"""Patterns: one sweep for all that wait.

Walking the keyspace costs the same for one pattern and for a thousand. So patterns gather, and
each sweep serves all that were requested before it began.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Server, Sleep, run_id
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.runtime.retry import Backoff, until_available
from invalidator.targets.redis.patterns import Matcher
from invalidator.targets.redis.walk import Node, Pace, Progress, Ticket, Walk

RUN = ("INFO", "server")
NODES = ("CLUSTER", "NODES")


class Place(Struct, frozen=True):
    """One primary, and the keys it has, as only the server itself reports them.

    A cursor means nothing to another process of the server, and a moving slot takes its keys past
    a walk that has not reached them.
    """

    run: bytes  # its process
    slots: frozenset[bytes] = frozenset()  # ranges, as CLUSTER NODES writes them
    open: frozenset[bytes] = frozenset()  # slots moving from or to it


def own_line(text: bytes) -> list[bytes]:
    """Return the words of a node's own line in CLUSTER NODES: only there are open slots listed."""
    lines = (line.split() for line in text.splitlines())
    return next(words for words in lines if words and b"myself" in words[2].split(b","))


async def look(server: Server, *, cluster: bool) -> Place:
    """Return the place of a server. Raises Unavailable, also for a replica: it may lag behind."""
    if not cluster:
        info, _ = await server.insist([RUN, ("UNLINK", layout.PROBE)])
        return Place(run_id(info))
    info, text = await server.insist([RUN, NODES])
    words = own_line(text)
    if b"master" not in words[2].split(b","):
        raise Unavailable(server.name, "is a replica")
    return place_of(run_id(info), words)


def place_of(run: bytes, own_line: list[bytes]) -> Place:
    ranges = frozenset(own_line[8:])
    moving = frozenset(each for each in ranges if each.startswith(b"["))
    return Place(run, ranges - moving, moving)


def moved(before: Mapping[str, Place], after: Mapping[str, Place]) -> str:
    """Return why a walk between the two may have missed a key; empty where it cannot."""
    if before.keys() != after.keys():
        return "primaries came or went"
    for name, was in before.items():
        now = after[name]
        if was.run != now.run:
            return f"{name} is another process now"
        if was.open or now.open:
            return f"{name} has moving slots"
        if was.slots != now.slots:
            return f"{name} has other slots now"
    return ""


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

        `progress` is called with every page. `observe` is called every `observe_every` seconds with
        the progress of a long sweep, and at the end of every sweep.
        """
        self._nodes = nodes
        self.part = part
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
            with metrics.SWEEPS_RUNNING.track_inprogress():
                await self._serve()

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

    async def _serve(self) -> None:
        """Sweep until a pass was enough; tickets requested meanwhile join the next pass."""
        served: list[Ticket] = []
        progress = Progress(began=self._clock())
        self._observed_at = progress.began

        async def attempt() -> str:
            self._include_waiting(served, progress)
            patterns = set().union(*(ticket.patterns for ticket in served))
            progress.patterns = len(patterns)
            return await self._pass(await _compile(patterns), progress) if patterns else ""

        tries = 0
        while True:
            progress.again = await until_available(
                attempt, self.part, backoff=self._backoff, sleep=self._sleep, chance=self._chance
            )
            if not progress.again:
                break
            self._report(progress)
            tries += 1
            await self._sleep(self._backoff.delay(tries, self._chance()))
        progress.ended = True
        for ticket in served:
            ticket.finish()
        self._report(progress)

    def _include_waiting(self, served: list[Ticket], progress: Progress) -> None:
        self._wanted.clear()
        ticket, self._next = self._next, None
        if ticket:
            ticket.progress = progress
            progress.watch(ticket.watched & ticket.patterns)
            served.append(ticket)

    async def _pass(self, matcher: Matcher, progress: Progress) -> str:
        """Walk all keys once. Return why another pass is needed, or nothing."""
        nodes = await self._nodes()
        before = await _places(nodes)
        await self._walk.over(nodes, matcher, progress)
        return moved(before, await _places(await self._nodes()))

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


async def _places(nodes: Sequence[Node]) -> Mapping[str, Place]:
    return {node.server.name: await look(node.server, cluster=node.cluster) for node in nodes}


async def _unlink_nothing(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
    return 0, {}
