"""Redis Streams: at least once, by entries that are acknowledged only after they are settled.

A consumer group gives each entry to one of its consumers and keeps it as pending until that one
acknowledges it. What a consumer had pending comes first when it starts again; what a dead one had
pending is claimed by the others.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import Final

import structlog
from msgspec import Struct
from redis.exceptions import RedisError

from invalidator.errors import Unavailable
from invalidator.model import Batch, Fault, Slice
from invalidator.redisclient import Client, Command
from invalidator.runtime.tasks import end
from invalidator.sources.gap import Gaps
from invalidator.sources.source import Lag
from invalidator.sources.start import Start
from invalidator.sources.stream.entries import Entry, show_id, slice_of
from invalidator.sources.stream.group import Group
from invalidator.sources.stream.reader import Found, Fresh
from invalidator.sources.stream.redelivery import Again
from invalidator.sources.stream.rewind import Backwards, Reached
from invalidator.sources.stream.server import Server, Vanished
from invalidator.sources.stream.suspects import POISON, Suspects
from invalidator.sources.trail import TIMELESS, WENT_BACK, Eras, Memory

log = structlog.get_logger("invalidator")

LOOK_EVERY: Final = 15.0  # seconds between two looks at the group, where CLAIM_AFTER allows


class Given(Struct, frozen=True):
    """Where a batch ends: what its settling acknowledges."""

    number: int
    at: float  # by the clock
    ids: Mapping[str, list[bytes]]  # by stream
    refused: Mapping[str, list[bytes]]  # those of them that nobody may decode
    reached: Mapping[str, Reached]  # of what is read again and acknowledges nothing

    def part(self, number: int, keys: Sequence[str]) -> "Given":
        """Of some streams."""
        ids, refused = (
            {key: of[key] for key in keys if key in of} for of in (self.ids, self.refused)
        )
        reached = {key: self.reached[key] for key in keys if key in self.reached}
        return Given(number, self.at, ids, refused, reached)


class StreamSource:
    """One consumer of a group, on one or several streams."""

    name = "stream"
    forgets = False
    overflowing: frozenset[str] = frozenset()

    def __init__(
        self,
        client: Client,
        keys: Sequence[str],
        *,
        group: str,
        consumer: str,
        start: Start,
        timeout: float,
        max_wait: float,
        claim_after: float = 60.0,
        trim: bool = False,
        eras: Eras = TIMELESS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._server = Server(client, self.name)
        self._claim_after = claim_after
        self._trim = trim
        self._clock = clock
        self._fresh = Fresh(
            self._server, keys, group, consumer, timeout, claim_after / 4, max_wait, clock
        )
        self._gaps = Gaps(self.name, clock=clock)
        self._groups = {
            key: Group(self._server, key, group, consumer, start, self._gaps, clock) for key in keys
        }
        self._suspects = {key: Suspects(self._server, group, key) for key in keys}
        self._agains = {key: self._again(key) for key in keys}
        self._memory = Memory(eras, self.name)
        self._backwards = {
            key: Backwards(self._server, self._groups[key], group, self._memory) for key in keys
        }
        self._numbers = count()
        self._given: dict[int, Given] = {}  # read and not settled
        self._settled: list[Given] = []  # and not yet acknowledged
        self._keeper: asyncio.Task[None] | None = None
        self._striking: asyncio.Task[None] | None = None

    def _again(self, key: str) -> Again:
        return Again(
            self._groups[key],
            self._suspects[key],
            self._claim_after,
            lambda: self._in_work(key),
            self._clock,
        )

    # --- the protocol -------------------------------------------------------------------

    async def open(self) -> None:
        await self._end_tasks()
        self._fresh.stopped = False
        for again in self._agains.values():
            again.begin()
        await self._join()
        await self._acknowledge()
        self._keeper = asyncio.create_task(self._keep(), name="stream-keeper")

    async def read(self, limit: int) -> Batch | None:
        if self._fresh.stopped:
            return None
        try:
            await self._acknowledge()
            await self._go_back()
            if (found := await self._read_again(limit)) is None:
                if (again := await self._read_back(limit)) is not None:
                    return again
                found = await self._fresh.read(limit)
        except Vanished:
            await self._join()
            found = None
        if found is None and not self._gaps:
            return None
        return self._batch(found or Found())

    async def settle(self, batch: Batch) -> None:
        given = batch.ends
        assert isinstance(given, Given)
        self._given.pop(given.number, None)
        for key, reached in given.reached.items():
            self._backwards[key].settle(reached)
        self._settled.append(given)
        try:
            await self._acknowledge()
        except Unavailable as error:  # the next read says so
            log.debug("stream-acknowledge", reason=str(error))

    def pause(self, origins: Collection[str]) -> None:
        self._fresh.paused = origins

    def set_aside(
        self, ends: object, origins: Collection[str], *, whole: bool
    ) -> tuple[object, object]:
        """What was given out stays ours as long as it is not settled: the keeper sees to that."""
        assert isinstance(ends, Given)
        if whole:
            return ends, None
        self._given.pop(ends.number, None)  # what is read again is not among them
        keys = [*ends.ids, *ends.reached]
        kept, others = (
            ends.part(next(self._numbers), [key for key in keys if (key in origins) is ours])
            for ours in (True, False)
        )
        self._given |= {kept.number: kept, others.number: others}
        return kept, others

    def take_back(self, ends: object) -> bool:
        return True

    def lag(self) -> Lag:
        groups = self._groups.items()
        return {(key, ""): group.behind for key, group in groups if group.behind is not None}

    async def keep_alive(self) -> None:
        """A task of its own keeps what is being worked on from being claimed."""

    async def stop(self) -> None:
        self._fresh.stopped = True

    async def close(self) -> None:
        await self._end_tasks()
        with contextlib.suppress(Unavailable):
            await self._acknowledge()
            for backwards in self._backwards.values():
                await backwards.note()
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    # --- reading ------------------------------------------------------------------------

    async def _read_again(self, limit: int) -> Found | None:
        """What was read before comes first."""
        if self._striking:
            await self._striking
            self._striking = None
        for key, again in self._agains.items():
            if key in self._fresh.paused:
                continue
            if page := await again.next(self._fresh.count(limit)):
                if page.lost:
                    first = page.lost[0].decode()
                    self._gaps.tell("trimmed-pending", [key], events=len(page.lost), first=first)
                # It runs when who called us is done with planning, and gives way.
                self._striking = asyncio.create_task(self._strike_out(key), name="stream-notes")
                found = Found()
                found.add(key, page)
                return found
        return None

    async def _read_back(self, limit: int) -> Batch | None:
        """What a cache may have forgotten; it was acknowledged once."""
        for key, backwards in self._backwards.items():
            if (read := await backwards.read(self._fresh.count(limit))) is not None:
                page, reached = read
                slices = self._slices(key, page.entries)
                size = sum(part.size for part in slices)
                given = Given(next(self._numbers), self._clock(), {}, {}, {key: reached})
                return Batch(self.name, slices, len(page.entries), size, given, self._gaps.take())
        return None

    async def _go_back(self) -> None:
        since: list[float] = []
        again: dict[str, str] = {}
        for key, backwards in self._backwards.items():
            if found := await backwards.look():
                moment, back = found
                since.append(moment)
                again[key] = f"{show_id(back.position)} to {show_id(back.goal)}"
                if not back.complete:
                    self._gaps.tell(WENT_BACK, [key])
        self._memory.tell(since, again)

    def _batch(self, found: Found) -> Batch:
        slices = []
        ids: dict[str, list[bytes]] = {}
        refused: dict[str, list[bytes]] = {}
        for key, pages in found.pages.items():
            slices += self._slices(key, [e for page in pages for e in page.entries])
            no = [entry for page in pages for entry in page.refused]
            slices += self._slices(key, no, POISON)
            refused[key] = [entry[0] for entry in no]
            ids[key] = [e[0] for page in pages for e in (*page.entries, *page.refused)]
            ids[key] += [lost for page in pages for lost in page.lost]
        given = Given(next(self._numbers), self._clock(), ids, refused, {})
        self._given[given.number] = given
        size = sum(part.size for part in slices)
        return Batch(self.name, slices, found.entries, size, given, self._gaps.take())

    def _slices(self, key: str, entries: list[Entry], refused: Fault | None = None) -> list[Slice]:
        if not entries:
            return []
        ids = [entry[0] for entry in entries]
        return [slice_of(self.name, key, ids, [entry[1] for entry in entries], refused)]

    # --- the group ------------------------------------------------------------------------

    async def _join(self) -> None:
        try:
            for key, group in self._groups.items():
                await group.join()
                await self._backwards[key].begin()
        except Vanished as news:  # between two of our own questions
            raise Unavailable(self.name, str(news)) from news

    async def _acknowledge(self) -> None:
        settled, self._settled = self._settled, []
        commands: list[Command] = []
        for given in settled:
            for key, ids in given.ids.items():
                commands += self._groups[key].acknowledge(ids)
                commands += self._suspects[key].forget(given.refused[key])
        try:
            await self._server.insist(commands)
        except BaseException:
            self._settled = settled + self._settled
            raise

    def _in_work(self, key: str) -> Collection[bytes]:
        return {found for given in self._given.values() for found in given.ids.get(key, ())}

    async def _keep(self) -> None:
        """Nobody shall claim what waits for a sweep; and the group needs some care."""
        every = min(LOOK_EVERY, self._claim_after / 4)
        while True:
            await asyncio.sleep(every)
            for key, group in self._groups.items():
                try:
                    await group.touch(self._held(key, every))
                    backwards = self._backwards[key]
                    await group.look_after(trim=self._trim, keep=backwards.oldest)
                    await backwards.note()
                except (Unavailable, Vanished) as news:  # the next read meets it, too
                    log.debug("stream-keeper", stream=key, reason=str(news))
                except Exception as error:  # noqa: BLE001 - it must go on, whatever it was
                    log.warning("stream-keeper", stream=key, reason=repr(error))

    def _held(self, key: str, seconds: float) -> list[bytes]:
        """What was given out so long ago and is not settled."""
        before = self._clock() - seconds
        old = [given for given in self._given.values() if given.at <= before]
        return [found for given in old for found in given.ids.get(key, ())]

    async def _strike_out(self, key: str) -> None:
        with contextlib.suppress(Unavailable):  # the next note strikes them out first
            await self._suspects[key].strike_out()

    async def _end_tasks(self) -> None:
        if self._keeper:
            await end(self._keeper)
        if self._striking:
            await asyncio.wait([self._striking])
        self._keeper = self._striking = None
