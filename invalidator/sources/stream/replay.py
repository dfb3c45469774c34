"""Reads streams without a group: for a replay of older entries, and for a dry run."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from redis.exceptions import RedisError

from invalidator.errors import Unavailable
from invalidator.model import Batch, Slice
from invalidator.redisclient import Client, Command
from invalidator.sources.replay import Ids, NotThere, Part
from invalidator.sources.source import Lag, Start, WithoutBrake
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
MOMENT: Final = 0.5  # seconds that an empty read waits
SHORT: Final = 0.15  # seconds between two reads that do not wait


class Groupless(WithoutBrake):
    """Acknowledges nothing, and writes nothing anywhere."""

    name = "stream"
    forgets = False

    def __init__(self, client: Client, keys: Sequence[str]) -> None:
        self._client = client
        self._server = StreamServer(client, self.name)
        self._keys = keys
        self._stopped = False

    async def settle(self, batch: Batch) -> None:
        """Nothing is acknowledged."""

    def lag(self) -> Lag:
        return {}  # without a group, Redis does not say

    async def keep_alive(self) -> None:
        """Without a group, nobody waits for us."""

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    def _slice(self, key: str, entries: Sequence[Entry]) -> Slice:
        ids = [entry[0] for entry in entries]
        return slice_of(self.name, key, ids, [entry[1] for entry in entries])

    def _batch(self, slices: list[Slice]) -> Batch:
        events = sum(len(part.values) for part in slices)
        return Batch(self.name, slices, events, sum(part.size for part in slices), None)


class StreamPast(Groupless):
    """Reads entries by their time or id, and ends."""

    def __init__(self, client: Client, keys: Sequence[str], wanted: Ids) -> None:
        super().__init__(client, keys)
        self._wanted = wanted
        self._after: dict[str, Id] | None = None  # read up to here; None: not looked up yet
        self._last: dict[str, Id] = {}

    @property
    def done(self) -> bool:
        return self._after is not None and not self._left()

    @property
    def total(self) -> int | None:
        """Redis cannot count them without reading them."""
        return None

    @property
    def parts(self) -> Sequence[Part]:
        return [
            Part(key, show_id(self._wanted.first), show_id(last), None)
            for key, last in self._last.items()
        ]

    async def open(self) -> None:
        """Find the last entries. Raises NotThere or Unavailable."""
        if self._after is not None:
            return
        last = {}
        for key in self._keys:
            if (state := await state_of(self._server, key)) is None:
                raise NotThere(f"there is no stream named {key!r}")
            until = self._wanted.until
            last[key] = state.last if until is None else min(state.last, before(until))
        self._last = last
        self._after = dict.fromkeys(self._keys, before(self._wanted.first))

    async def read(self, limit: int) -> Batch | None:
        if self._stopped or self._after is None:
            return None
        for key, after in self._left().items():
            bounds = f"({show_id(after)}", show_id(self._last[key])
            count = min(limit, PAGE)
            (found,) = await self._server.ask_group([("XRANGE", key, *bounds, "COUNT", count)])
            full = len(found) == count
            self._after[key] = parse_id(found[-1][0]) if full else self._last[key]
            if found:
                return self._batch([self._slice(key, found)])
        return None

    def _left(self) -> Mapping[str, Id]:
        return {key: at for key, at in (self._after or {}).items() if at < self._last[key]}


class DryStreamSource(Groupless):
    """Reads new entries for a dry run, and keeps its positions in memory."""

    def __init__(
        self, client: Client, keys: Sequence[str], *, start: Start, timeout: float
    ) -> None:
        super().__init__(client, keys)
        self._start = start
        self._wait = min(MOMENT, timeout / 2)
        self._apart = self._server.spread and len(keys) > 1
        self._after: dict[str, bytes] = {}  # the last entry that was read, by stream

    async def open(self) -> None:
        for key in self._keys:
            if key not in self._after:
                state = await state_of(self._server, key)
                at = await begin(self._server, self._start, state)
                last = show_id(state.last if state else NOTHING)
                self._after[key] = (last if at == "$" else at).encode()

    async def read(self, limit: int) -> Batch | None:
        if self._stopped:
            return None
        try:
            replies = await self._server.ask_group(self._questions(limit))
        except Vanished as news:
            raise Unavailable(self.name, str(news)) from news
        streams = [stream for reply in replies for stream in reply or ()]
        if self._apart and not streams:
            await asyncio.sleep(min(self._wait, SHORT))
        self._after |= {name.decode(): entries[-1][0] for name, entries in streams}
        slices = [self._slice(name.decode(), entries) for name, entries in streams]
        return self._batch(slices) if slices else None

    def _questions(self, limit: int) -> list[Command]:
        """Ask for all streams at once, unless they are on several nodes of a cluster."""
        keys = list(self._keys)[:limit]
        each = max(1, min(limit, PAGE) // len(keys))
        block: Command = () if self._apart else ("BLOCK", max(1, int(self._wait * 1000)))
        return [
            (
                "XREAD",
                "COUNT",
                each,
                *block,
                "STREAMS",
                *asked,
                *map(self._after.__getitem__, asked),
            )
            for asked in ([[key] for key in keys] if self._apart else [keys])
        ]
