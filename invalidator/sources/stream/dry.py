"""Redis Streams for a dry run: read without a group, so that nothing is written anywhere."""

import asyncio
from collections.abc import Sequence
from typing import Final

from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.redisclient import Client, Command
from invalidator.sources.start import Start
from invalidator.sources.stream.entries import NOTHING, show_id, slice_of
from invalidator.sources.stream.group import begin, state_of
from invalidator.sources.stream.groupless import Onlooker
from invalidator.sources.stream.server import Vanished

MOMENT: Final = 0.5  # seconds that an empty read waits
SHORT: Final = 0.15  # seconds between two reads that do not wait
PAGE: Final = 1000


class DryStreamSource(Onlooker):
    """Keeps its positions to itself."""

    def __init__(
        self, client: Client, keys: Sequence[str], *, start: Start, timeout: float
    ) -> None:
        super().__init__(client, keys)
        self._start = start
        self._wait = min(MOMENT, timeout / 2)
        self._after: dict[str, bytes] = {}  # what was read last, by stream

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
        size = sum(part.size for part in slices)
        return Batch(self.name, slices, count, size, None) if slices else None
