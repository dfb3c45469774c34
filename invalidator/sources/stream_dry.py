"""Redis Streams for a dry run: read without a group, so that nothing is written anywhere."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError

from invalidator.connect import Client, Command
from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.sources import Lag
from invalidator.sources.positions import Start
from invalidator.sources.stream_entries import NOTHING, show_id, slice_of
from invalidator.sources.stream_group import begin, state_of
from invalidator.sources.stream_server import Server, Vanished

MOMENT: Final = 0.5  # seconds that an empty read waits
SHORT: Final = 0.15  # seconds between two reads that do not wait
PAGE: Final = 1000


class DryStreamSource:
    """Keeps its positions to itself."""

    name = "stream"
    forgets = False

    def __init__(
        self, client: Client, keys: Sequence[str], *, start: Start, timeout: float
    ) -> None:
        self._client = client
        self._server = Server(client, self.name)
        self._keys = keys
        self._start = start
        self._wait = min(MOMENT, timeout / 2)
        self._after: dict[str, bytes] = {}  # what was read last, by stream
        self._stopped = False

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
        keys = list(self._keys)[:limit]
        each = max(1, min(limit, PAGE) // len(keys))
        apart = self._server.spread and len(keys) > 1
        block: Command = () if apart else ("BLOCK", max(1, int(self._wait * 1000)))
        commands = [
            (
                "XREAD",
                "COUNT",
                each,
                *block,
                "STREAMS",
                *asked,
                *(self._after[key] for key in asked),
            )
            for asked in ([[key] for key in keys] if apart else [keys])
        ]
        try:
            replies = await self._server.ask_group(commands)
        except Vanished as news:
            raise Unavailable(self.name, str(news)) from news
        streams = [stream for reply in replies for stream in reply or ()]
        if apart and not streams:
            await asyncio.sleep(min(self._wait, SHORT))
        slices = []
        for name, entries in streams:
            key = name.decode()
            ids = [entry[0] for entry in entries]
            self._after[key] = ids[-1]
            slices.append(slice_of(self.name, key, ids, [entry[1] for entry in entries]))
        count = sum(len(part.values) for part in slices)
        size = sum(len(value) for part in slices for value in part.values if value)
        return Batch(self.name, slices, count, size, None) if slices else None

    async def settle(self, batch: Batch) -> None:
        """Nothing is acknowledged."""

    def lag(self) -> Lag:
        return {}  # without a group, Redis does not say

    async def keep_alive(self) -> None:
        """Nobody waits for us."""

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()
