"""Reads a stream's entries again after a cache may have lost their deletions.

They were acknowledged, so they are read outside the group, and nothing is acknowledged. Where to
begin is an id and not a time: entries may be settled long after they were published, and ids need
not be times. It is stored beside the stream, together with the identity of the caches' servers. If
the group is deleted while no daemon runs, it reads on from there.
"""

import time
from collections import deque
from typing import Final

import orjson
from msgspec import Struct

from invalidator.layout import PLACE
from invalidator.sources.reread import Servers
from invalidator.sources.stream.entries import NOTHING, Entry, Id, parse_id, show_id
from invalidator.sources.stream.group import Group
from invalidator.sources.stream.server import StreamServer

KEPT: Final = 30 * 86_400  # seconds that the stored place outlives its last change


class Reached(Struct, frozen=True):
    """The position that a batch of re-read entries reaches."""

    position: Id
    round: int


class Back(Struct, frozen=True):
    """The entries that are read again."""

    position: Id  # they follow it
    goal: Id  # the last of them
    complete: bool  # none of them was removed


class Reread:
    """Knows from where one stream has to be read again, and how much of that is done."""

    def __init__(
        self,
        server: StreamServer,
        group: Group,
        name: str,
        servers: Servers,
    ) -> None:
        """`name` is that of the group; `servers` are those of the caches."""
        self._server = server
        self._group = group
        self._servers = servers
        self._key = PLACE.format(group=name, stream=group.key)
        self._identity = ""  # all that is settled was applied to servers with this identity
        # Times, and the position up to which all was settled then; one older than the window.
        self._settled: deque[tuple[float, Id]] = deque()
        self._back: Back | None = None
        self._coming = ""  # the identity that holds once the goal is settled
        self._cursor: Id | None = None  # read again up to here; None: up to the goal
        self._reached = NOTHING  # settled again up to here
        self._round = 0
        self._stored = b""

    @property
    def oldest(self) -> Id | None:
        """Return the position from which entries may be read again; None if none ever are."""
        return self._settled[0][1] if self._settled else None

    async def load(self) -> Id | None:
        """Return the stored place, if there is one. Raises Unavailable."""
        if self._settled:
            return None
        (stored,) = await self._server.insist([("GET", self._key)])
        self._identity, since = _parse(stored or b"")
        if since:
            self._settled.append((0.0, since))
        return since

    def begin(self) -> None:
        """Begin at the group's position, unless a place was stored."""
        if not self._settled:
            self._settled.append((0.0, self._group.safe or NOTHING))

    async def look(self) -> Back | None:
        """Go back if the servers' identity changed; return the entries that are read again.

        Raises Unavailable or Vanished.
        """
        current = self._servers.identity
        if not current or not self._settled:
            return None
        if not self._identity:
            self._identity = current
            await self.store()  # else a failover right after a crash would go unnoticed
        if current == (self._coming if self._back else self._identity):
            return None
        state, delivered = await self._group.standing()
        position = self._settled[0][1]
        goal = max(delivered, self._back.goal) if self._back else delivered
        self._coming = current
        if position >= goal:
            self._end()
            return None
        self._back = Back(position, goal, not state.may_lack(position))
        self._reached = position
        self.rewind()
        return self._back

    def rewind(self) -> None:
        """Read again from what is settled again; batches that were read before do not count."""
        if self._back:
            self._cursor = self._reached
            self._round += 1

    async def read(self, count: int) -> tuple[list[Entry], Reached] | None:
        """Return the next entries that are read again. Raises Unavailable or Vanished."""
        if self._back is None or self._cursor is None:
            return None
        goal, round_ = self._back.goal, self._round
        bounds = (f"({show_id(self._cursor)}", show_id(goal))
        (entries,) = await self._server.ask_group(
            [("XRANGE", self._group.key, *bounds, "COUNT", count)]
        )
        if round_ != self._round:
            return None  # it was paused meanwhile
        more = len(entries) == count
        self._cursor = parse_id(entries[-1][0]) if more else None
        return entries, Reached(self._cursor or goal, round_)

    def settle(self, reached: Reached) -> None:
        """Note that everything up to there is applied again."""
        if self._back and reached.round == self._round:
            self._reached = reached.position
            if reached.position >= self._back.goal:
                self._end()

    def _end(self) -> None:
        self._identity, self._back, self._cursor = self._coming, None, None

    async def store(self) -> None:
        """Store from where to read again, unless a failover may have happened. Raises Unavailable.

        What is stored then is what the next process needs if this one ends now.
        """
        safe = self._group.safe
        if self._back or safe is None or self._identity != self._servers.identity:
            return
        if not self._settled or (self._servers.window and not self._identity):
            return
        now = time.time()
        self._settled.append((now, safe))
        while len(self._settled) > 1 and self._settled[1][0] <= now - self._servers.window:
            self._settled.popleft()
        place = {"v": 2, "identity": self._identity, "since": show_id(self._settled[0][1])}
        if (said := orjson.dumps(place)) != self._stored:
            await self._server.insist([("SET", self._key, said, "EX", KEPT)])
            self._stored = said


def _parse(stored: bytes) -> tuple[str, Id | None]:
    """Return the identity and where to read again from; nothing for another version's format."""
    try:
        place = orjson.loads(stored)
        return str(place["identity"]), parse_id(place["since"].encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", None
