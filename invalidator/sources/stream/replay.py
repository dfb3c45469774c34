"""Reads streams without a group: for a replay of older entries, and for a dry run."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from redis.exceptions import RedisError

from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.redisclient import Client
from invalidator.sources.replay import Ids, Newest, NotThere, Part
from invalidator.sources.source import Groupless, Start
from invalidator.sources.stream.entries import (
    NOTHING,
    Entry,
    Id,
    before,
    parse_id,
    show_id,
    slice_of,
)
from invalidator.sources.stream.group import begin, state_of
from invalidator.sources.stream.server import StreamServer, Vanished

PAGE: Final = 1000  # entries in one reply: Redis does nothing else meanwhile, some 4 ms
MOMENT: Final = 0.2  # seconds that an empty read waits


class GrouplessStreams(Groupless):
    """Reads streams, acknowledges nothing, and writes nothing anywhere."""

    name = "stream"

    def __init__(self, client: Client, keys: Sequence[str]) -> None:
        self._client = client
        self._server = StreamServer(client, self.name)
        self._keys = keys

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    def _batch(self, found: Mapping[str, Sequence[Entry]]) -> Batch | None:
        slices = [slice_of(self.name, key, entries) for key, entries in found.items()]
        return Batch.of(self.name, slices, None) if slices else None


class StreamReplay(GrouplessStreams):
    """Reads entries by their time or id, and ends."""

    def __init__(self, client: Client, keys: Sequence[str], wanted: Ids | Newest) -> None:
        super().__init__(client, keys)
        self._wanted = wanted
        self.total: int | None = None  # Redis cannot count them without reading them
        self._after: dict[str, Id] | None = None  # read up to here; None: not looked up yet
        self._last: dict[str, Id] = {}
        self._first: dict[str, Id] = {}

    @property
    def done(self) -> bool:
        return self._after is not None and not self._left()

    @property
    def parts(self) -> Sequence[Part]:
        return [
            Part(key, show_id(self._first[key]), show_id(last), None)
            for key, last in self._last.items()
        ]

    async def open(self) -> None:
        """Find the last entries. Raises NotThere or Unavailable."""
        if self._after is not None:
            return
        last, first = {}, {}
        for key in self._keys:
            if (state := await state_of(self._server, key)) is None:
                raise NotThere(f"there is no stream named {key!r}")
            until = self._wanted.until if isinstance(self._wanted, Ids) else None
            last[key] = state.last if until is None else min(state.last, before(until))
            first[key] = await self._begin(key, state.last)
        self._last, self._first = last, first
        self._after = {key: before(begin) for key, begin in first.items()}

    async def read(self, limit: int) -> Batch | None:
        if self.stopped or self._after is None:
            return None
        for key, after in self._left().items():
            bounds = f"({show_id(after)}", show_id(self._last[key])
            count = min(limit, PAGE)
            (found,) = await self._server.ask_group([("XRANGE", key, *bounds, "COUNT", count)])
            full = len(found) == count
            self._after[key] = parse_id(found[-1][0]) if full else self._last[key]
            if found:
                return self._batch({key: found})
        return None

    async def _begin(self, key: str, last: Id) -> Id:
        """Return the first id to read."""
        if isinstance(self._wanted, Ids):
            return self._wanted.first
        newest = ("XREVRANGE", key, "+", "-", "COUNT", self._wanted.count)
        (found,) = await self._server.ask_group([newest])
        return parse_id(found[-1][0]) if found else last

    def _left(self) -> Mapping[str, Id]:
        return {key: at for key, at in (self._after or {}).items() if at < self._last[key]}


class DryStreamSource(GrouplessStreams):
    """Reads new entries for a dry run, and keeps its positions in memory."""

    def __init__(self, client: Client, keys: Sequence[str], *, start: Start) -> None:
        super().__init__(client, keys)
        self._start = start
        self._after: dict[str, bytes] = {}  # the last entry that was read, by stream

    async def open(self) -> None:
        for key in self._keys:
            if key not in self._after:
                state = await state_of(self._server, key)
                at = await begin(self._server, self._start, state)
                last = show_id(state.last if state else NOTHING)
                self._after[key] = (last if at == "$" else at).encode()

    async def read(self, limit: int) -> Batch | None:
        if self.stopped:
            return None
        keys = self._keys[:limit]
        words = ("XREAD", "COUNT", max(1, min(limit, PAGE) // len(keys)), "STREAMS")
        try:  # each by its own command: they may be on several nodes of a cluster
            replies = await self._server.ask_group((*words, key, self._after[key]) for key in keys)
        except Vanished as news:
            raise Unavailable(self.name, str(news)) from news
        found = {key: reply[0][1] for key, reply in zip(keys, replies, strict=True) if reply}
        if not found:
            await asyncio.sleep(MOMENT)
        self._after |= {key: entries[-1][0] for key, entries in found.items()}
        return self._batch(found)
