"""A stream's entries that are read once more, because a cache may have forgotten them.

They were acknowledged: so they are read past the group, and acknowledge nothing. Where the stream
stands with the caches is kept beside it, for who comes after us.
"""

import time
from collections.abc import Callable
from typing import Final

import orjson
from msgspec import Struct
from msgspec.structs import replace

from invalidator.layout import PLACE
from invalidator.sources.stream.entries import Id, Page, parse_id, show_id
from invalidator.sources.stream.group import Group
from invalidator.sources.stream.server import Server
from invalidator.sources.trail import BEGINNING, Back, Memory, Point, Stand, Trail

KEPT: Final = 30 * 86_400  # seconds that the note outlives its last change


class Reached(Struct, frozen=True):
    """How far a batch went in what is read again."""

    position: Id
    round: int


class Backwards:
    """One stream's standing with the caches, and the way back."""

    def __init__(
        self,
        server: Server,
        group: Group,
        name: str,
        memory: Memory,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._group = group
        self._memory = memory
        self._now = now
        self._note_key = PLACE.format(group=name, stream=group.key)
        self._stand: Stand[Id] | None = None
        self._cursor: Id | None = None  # read again up to here; None: nothing is
        self._round = 0
        self._saved = b""

    @property
    def oldest(self) -> Id | None:
        """What lies behind it is never read again; None: nothing is."""
        return self._stand.trail.first if self._stand and self._memory.eras.most else None

    async def begin(self) -> None:
        """Where it stood when somebody of the group last wrote that down. Raises Unavailable."""
        if self._memory.eras.most and self._stand is None:
            (note,) = await self._server.insist([("GET", self._note_key)])
            self._stand = self._restored(note)

    async def look(self) -> tuple[float, Back[Id]] | None:
        """Whether a cache may have forgotten entries that were settled: since when, and which.

        Raises Unavailable or Vanished.
        """
        stand, current = self._stand, self._memory.eras.current
        if stand is None or not current:
            return None
        if not stand.behind(current):
            if not self._saved:  # nothing may be settled that nobody could find again
                await self.note()
            return None
        since = await self._memory.since([stand.era])
        if not since:
            return None
        state, delivered = await self._group.standing()
        moment = since.get(stand.era)
        if moment is None:  # another way back ended meanwhile: it stands in its own era now
            return None
        back = stand.go_back(moment, current, delivered)
        self._round += 1
        if back is None:
            self._cursor = None
            return None
        self._cursor = back.position
        complete = back.complete and not state.may_lack(back.position)
        return moment, replace(back, complete=complete)

    async def read(self, count: int) -> tuple[Page, Reached] | None:
        """The next of what is read again. Raises Unavailable or Vanished."""
        stand, cursor = self._stand, self._cursor
        if stand is None or cursor is None or stand.goal is None:
            return None
        bounds = (f"({show_id(cursor)}", show_id(stand.goal))
        (entries,) = await self._server.ask_group(
            [("XRANGE", self._group.key, *bounds, "COUNT", count)]
        )
        if len(entries) < count:
            reached, self._cursor = stand.goal, None
        else:
            reached = self._cursor = parse_id(entries[-1][0])
        return Page(entries), Reached(reached, self._round)

    def settle(self, reached: Reached) -> None:
        """What was read again up to here is applied."""
        if self._stand:
            again = reached.round == self._round
            self._stand.settle(reached.position, self._now(), again=again)

    async def note(self) -> None:
        """Write down where it stands. Raises Unavailable."""
        stand, safe = self._stand, self._group.safe
        if stand is None or safe is None:
            return
        if stand.goal is None:
            stand.settle(safe, self._now(), again=False)
        points = [(at, show_id(position)) for at, position in stand.trail.few()]
        said = orjson.dumps({"v": 1, "era": stand.era, "trail": points})
        if stand.era and said != self._saved:
            await self._server.insist([("SET", self._note_key, said, "EX", KEPT)])
            self._saved = said

    def _restored(self, note: bytes | None) -> Stand[Id]:
        most, safe = self._memory.eras.most, self._group.safe
        assert safe is not None
        if note is None and self._group.born:
            return Stand(self._memory.eras.current, Trail(most, [(BEGINNING, safe)]))
        era, points = _parse(note or b"")
        return Stand(era, Trail(most, points or [(self._now(), safe)]))


def _parse(note: bytes) -> tuple[str, list[Point[Id]]]:
    try:
        read = orjson.loads(note)
        points = [(float(at), parse_id(position.encode())) for at, position in read["trail"]]
        return str(read["era"]), points
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", []
