"""Redis Streams: at least once, because entries are acknowledged only after they are settled.

A consumer group gives each entry to one of its consumers and keeps it as pending until that one
acknowledges it. A consumer's own pending entries come first when it starts again; those of a dead
consumer are claimed by the others.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Sequence
from typing import Final

import structlog
from msgspec import Struct
from redis.exceptions import RedisError

from invalidator.errors import Unavailable
from invalidator.model import Batch, Slice
from invalidator.redisclient import Client, Command
from invalidator.runtime.tasks import end
from invalidator.sources.gap import WENT_BACK, Gaps
from invalidator.sources.reread import UNWATCHED, Servers, report_reread
from invalidator.sources.source import Lag, Start
from invalidator.sources.stream.entries import Entry, show_id, slice_of
from invalidator.sources.stream.group import Group
from invalidator.sources.stream.reader import Found, Reader, Redelivery
from invalidator.sources.stream.reread import Reached, Reread
from invalidator.sources.stream.server import StreamServer, Vanished

log = structlog.get_logger("invalidator")

LOOK_EVERY: Final = 15.0  # seconds between two looks at the group, where CLAIM_AFTER allows

Ids = dict[str, list[bytes]]  # by stream


class Given(Struct, eq=False):
    """The entries that settling a batch acknowledges."""

    at: float  # by the clock
    ids: Ids  # a stream that is paused loses its own
    reached: dict[str, Reached]  # of entries that are read again: they were acknowledged before


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
        servers: Servers = UNWATCHED,
    ) -> None:
        """`servers` are those of the caches."""
        self._client = client
        self._server = StreamServer(client, self.name)
        self._claim_after = claim_after
        self._trim = trim
        self._servers = servers
        self._reader = Reader(
            self._server, keys, group, consumer, timeout, claim_after / 4, max_wait
        )
        self._gaps = Gaps(self.name)
        self._groups = {
            key: Group(self._server, key, group, consumer, start, self._gaps) for key in keys
        }
        self._redeliveries = {
            key: Redelivery(group, claim_after, self._in_work)
            for key, group in self._groups.items()
        }
        self._rereads = {
            key: Reread(self._server, self._groups[key], group, servers) for key in keys
        }
        self._given: list[Given] = []  # read and not settled
        self._settled: list[Given] = []  # and not yet acknowledged
        self._paused: Ids = {}  # by stream that is paused: read and not settled
        self._reader.paused = self._paused.keys()
        self._keeper: asyncio.Task[None] | None = None

    # --- the protocol -------------------------------------------------------------------

    async def open(self) -> None:
        await self._end_keeper()
        self._reader.stopped = False
        for redelivery in self._redeliveries.values():
            redelivery.begin()
        await self._join()
        await self._acknowledge()
        self._keeper = asyncio.create_task(self._keep(), name="stream-keeper")

    async def read(self, limit: int) -> Batch | None:
        if self._reader.stopped:
            return None
        try:
            await self._acknowledge()
            await self._go_back()
            if (found := await self._read_again(limit)) is None:
                if (batch := await self._reread(limit)) is not None:
                    return batch
                found = await self._reader.read(limit)
        except Vanished:
            await self._join()
            found = None
        return self._batch(found or Found())

    async def settle(self, batch: Batch) -> None:
        given = batch.ends
        assert isinstance(given, Given)
        self._given.remove(given)
        for key, reached in given.reached.items():
            self._rereads[key].settle(reached)
        self._settled.append(given)
        try:
            await self._acknowledge()
        except Unavailable as error:  # the next read reports it
            log.debug("stream-acknowledge", reason=str(error))

    def pause(self, origins: frozenset[str]) -> None:
        for key in self._paused.keys() - origins:
            del self._paused[key]
            self._redeliveries[key].begin()
        for key in origins & self._groups.keys() - self._paused.keys():
            self._paused[key] = [found for given in self._given for found in given.ids.pop(key, ())]
            self._rereads[key].rewind()

    def lag(self) -> Lag:
        groups = self._groups.items()
        return {(key, ""): group.behind for key, group in groups if group.behind is not None}

    async def keep_alive(self) -> None:
        """Do nothing: a task of its own keeps entries in work from being claimed."""

    async def stop(self) -> None:
        self._reader.stopped = True

    async def close(self) -> None:
        await self._end_keeper()
        with contextlib.suppress(Unavailable):
            await self._acknowledge()
            for reread in self._rereads.values():
                await reread.store()
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    # --- reading ------------------------------------------------------------------------

    async def _read_again(self, limit: int) -> Found | None:
        """Return entries that were delivered before: they come first."""
        for key, redelivery in self._redeliveries.items():
            if key in self._paused:
                continue
            if found := await redelivery.next(self._reader.count(limit)):
                if lost := found.lost.get(key):
                    first = lost[0].decode()
                    self._gaps.report("trimmed-pending", [key], events=len(lost), first=first)
                return found
        return None

    async def _reread(self, limit: int) -> Batch | None:
        """Return acknowledged entries whose deletions a cache may have lost."""
        for key, reread in self._rereads.items():
            if key in self._paused:
                continue
            if (read := await reread.read(self._reader.count(limit))) is not None:
                entries, reached = read
                return self._batch_of(self._slices(key, entries), {}, {key: reached})
        return None

    async def _go_back(self) -> None:
        """Begin to read again where a cache's servers changed."""
        backs = {
            key: back for key, reread in self._rereads.items() if (back := await reread.look())
        }
        if not backs:
            return
        since = show_id(min(back.position for back in backs.values()))
        ranges = {key: f"{show_id(b.position)} to {show_id(b.goal)}" for key, b in backs.items()}
        report_reread(self.name, since, self._servers, ranges)
        for key, back in backs.items():
            if not back.complete:
                self._gaps.report(WENT_BACK, [key])

    def _batch(self, found: Found) -> Batch | None:
        slices: list[Slice] = []
        ids: Ids = {}
        for key, entries in found.entries.items():
            came = [entry[0] for entry in entries] + found.lost.get(key, [])
            if key in self._paused:  # since it was asked for these
                self._paused[key] += came
            else:
                slices += self._slices(key, entries)
                ids[key] = came
        return self._batch_of(slices, ids, {}) if ids or self._gaps else None

    def _batch_of(self, slices: list[Slice], ids: Ids, reached: dict[str, Reached]) -> Batch:
        given = Given(time.monotonic(), ids, reached)
        self._given.append(given)
        return Batch.of(self.name, slices, given, self._gaps.take())

    def _slices(self, key: str, entries: list[Entry]) -> list[Slice]:
        return [slice_of(self.name, key, entries)] if entries else []

    # --- the group ------------------------------------------------------------------------

    async def _join(self) -> None:
        try:
            for key, group in self._groups.items():
                await group.join(known=await self._rereads[key].load())
                self._rereads[key].begin()
        except Vanished as news:  # between two of our own questions
            raise Unavailable(self.name, str(news)) from news

    async def _acknowledge(self) -> None:
        settled, self._settled = self._settled, []
        commands: list[Command] = []
        for given in settled:
            for key, ids in given.ids.items():
                commands += self._groups[key].acknowledge(ids)
        try:
            await self._server.insist(commands)
        except BaseException:
            self._settled = settled + self._settled
            raise

    def _in_work(self, key: str) -> Collection[bytes]:
        return {found for given in self._given for found in given.ids.get(key, ())}

    async def _keep(self) -> None:
        """Keep entries that wait for a sweep from being claimed, and look after the group."""
        every = min(LOOK_EVERY, self._claim_after / 4)
        while True:
            await asyncio.sleep(every)
            for key, group in self._groups.items():
                try:
                    await group.touch(self._old_ids(key, every))
                    reread = self._rereads[key]
                    await group.look_after(trim=self._trim, keep=reread.oldest)
                    await reread.store()
                except (Unavailable, Vanished) as news:  # the next read meets it, too
                    log.debug("stream-keeper", stream=key, reason=str(news))
                except Exception as error:  # noqa: BLE001 - it must continue, whatever it was
                    log.warning("stream-keeper", stream=key, reason=repr(error))

    def _old_ids(self, key: str, seconds: float) -> list[bytes]:
        """Return the ids that were given out so long ago, or are paused, and are not settled."""
        before = time.monotonic() - seconds
        old = [given for given in self._given if given.at <= before]
        ids = [found for given in old for found in given.ids.get(key, ())]
        return ids + self._paused.get(key, [])

    async def _end_keeper(self) -> None:
        if self._keeper:
            await end(self._keeper)
        self._keeper = None
