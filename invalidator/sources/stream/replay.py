"""Redis Streams once more: entries by their time or id, read past any group."""

from collections.abc import Mapping, Sequence
from typing import Final

from invalidator.model import Batch
from invalidator.redisclient import Client
from invalidator.sources.replay import Ids, NotThere, Part
from invalidator.sources.stream.entries import Id, before, parse_id, show_id, slice_of
from invalidator.sources.stream.group import state_of
from invalidator.sources.stream.groupless import Onlooker

PAGE: Final = 1000  # entries in one answer: Redis does nothing else meanwhile, some 4 ms


class StreamPast(Onlooker):
    """Ends by itself."""

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
        """Raises NotThere, too."""
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
                ids = [entry[0] for entry in found]
                part = slice_of(self.name, key, ids, [entry[1] for entry in found])
                return Batch(self.name, [part], len(found), part.size, None)
        return None

    def _left(self) -> Mapping[str, Id]:
        return {key: at for key, at in (self._after or {}).items() if at < self._last[key]}
