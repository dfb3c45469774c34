"""Our consumer group on one stream: its position, its consumers, and the entries that were lost.

Redis reports none of these on its own: a stream that is deleted takes its groups along, entries
are trimmed whether they were read or not, and consumers stay for ever.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

import structlog
from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.redisclient import Command
from invalidator.sources.gap import Gaps
from invalidator.sources.source import Start
from invalidator.sources.stream.entries import NOTHING, Entry, Id, before, parse_id, show_id
from invalidator.sources.stream.server import StreamServer, Vanished, is_no_key

log = structlog.get_logger("invalidator")

LATEST: Final = "$"  # after the last entry
TOGETHER: Final = 500  # ids in one command
GONE_AFTER: Final = 3600.0  # idle seconds of a consumer that has nothing pending
_REMOVE: Final = b"""
for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for at = 1, #found, 2 do consumer[found[at]] = found[at + 1] end
  if consumer.name == ARGV[2] and consumer.pending == 0 and consumer.idle >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0
"""


class State(Struct, frozen=True):
    """A stream and our group on it, as Redis reports them."""

    last: Id  # the last entry's id, even if it was removed
    first: Id | None  # the first entry's id; None: it is empty
    added: int | None  # entries ever added; None before Redis 7
    length: int
    delivered: Id | None  # up to here the group has given entries out; None: there is no group
    read: int | None  # entries that it gave out, as far as Redis knows
    lag: int | None  # entries that it has not given out, as far as Redis knows

    @property
    def unread_removed(self) -> int | None:
        """Return how many entries were removed before the group gave them out; None: unknown.

        Redis counts what it has given out, and continues from there behind a hole.
        """
        if self.added is None or self.read is None or self.delivered is None:
            return None
        if self.delivered >= self.last:
            return self.added - self.read
        return self.added - self.length - self.read if self.hole_ahead else None

    @property
    def hole_ahead(self) -> bool:
        """Return whether all that the group has given out is gone: what followed may be, too."""
        return self.delivered is not None and (self.first is None or self.first > self.delivered)

    def may_lack(self, position: Id) -> bool:
        """Return whether entries that came after this one may have been removed."""
        return self.added != self.length and (self.first is None or self.first > position)


class Group:
    """Our consumer group on one stream."""

    def __init__(
        self, server: StreamServer, key: str, group: str, consumer: str, start: Start, gaps: Gaps
    ) -> None:
        self.key = key
        self._server = server
        self._name = group
        self._consumer = consumer
        self._start = start
        self._gaps = gaps
        # Where to continue if the group vanishes: every consumer has settled all up to here.
        self.safe: Id | None = None
        self.behind: int | None = None  # entries not settled, when it was last looked at
        self._seen = 0.0  # by the clock, when it was last looked at
        self._last = NOTHING  # the last entry's id, then
        # How many that were removed before they were given out were reported; None: not looked yet.
        self._unread: int | None = None

    # --- existence -------------------------------------------------------------------

    async def join(self, known: Id | None = None) -> None:
        """Create the group unless it exists. Raises Unavailable.

        Earlier processes had settled all up to `known`, if there were any.
        """
        state = await state_of(self._server, self.key, self._name)
        if state is None or state.delivered is None:
            await self._create(state, known)
            state = await state_of(self._server, self.key, self._name)
        if state is None or state.delivered is None:
            raise Unavailable(self._server.name, f"the stream {self.key} vanishes again and again")
        self._seen, self._last = time.monotonic(), state.last
        if self._unread is None and state.hole_ahead:
            self._unread = 0  # they were removed while none of us was running
        self._tell_unread(state)
        if self.safe is None:
            self.safe = _settled(state.delivered, await self._pending())

    async def _create(self, state: State | None, known: Id | None) -> None:
        if self.safe is not None:
            at = self._resume(state)
        else:
            at = await begin(self._server, self._start, state)
            at = at if known is None else self._read_on(state, known, at)
        command: Command = ("XGROUP", "CREATE", self.key, self._name, at, "MKSTREAM")
        (reply,) = await self._server.ask([command])
        created_by_another = "BUSYGROUP" in str(reply)
        if isinstance(reply, Exception) and not created_by_another:
            raise self._server.rejected(reply, f"the stream {self.key}")
        log.info("stream-group-created", stream=self.key, group=self._name, at=at)

    def _read_on(self, state: State | None, known: Id, configured: str) -> str:
        """Return where a group continues that vanished while no process was running."""
        log.warning("stream-group-vanished", stream=self.key, group=self._name)
        if state is None or state.last < known:
            self._gaps.report("stream-vanished", [self.key], group=self._name)
            return show_id(NOTHING)
        if configured != LATEST and parse_id(configured.encode()) <= known:
            return configured
        if state.may_lack(known):
            self._gaps.report("trimmed-unread", [self.key], group=self._name)
        return show_id(known)

    def _resume(self, state: State | None) -> str:
        """Return where a group that existed continues: nothing may be passed over."""
        if state is None or not self._is_the_same(state):
            # Another stream under the same name: everything in it is new, and what was unread in
            # the old one is lost.
            self._gaps.report("stream-vanished", [self.key], since=self._seen, group=self._name)
            self.safe = NOTHING
        else:
            log.warning("stream-group-vanished", stream=self.key, group=self._name)
        return show_id(self.safe or NOTHING)

    def _is_the_same(self, state: State) -> bool:
        """Return whether it holds, or once held, what we saw in it; if in doubt, it did not."""
        return state.last >= self._last and (state.first is None or state.first <= self._last)

    # --- now and then -------------------------------------------------------------------

    async def look_after(self, *, trim: bool, keep: Id | None = None) -> None:
        """Note its position, report lost entries, remove dead consumers. Raises Unavailable.

        Settled entries up to `keep` may be trimmed; None: all of them.
        """
        state = await state_of(self._server, self.key, self._name)
        if state is None or state.delivered is None:
            return  # the next read notices
        self._seen, self._last = time.monotonic(), state.last
        pending = await self._pending()
        self.safe = _settled(state.delivered, pending)
        self.behind = None if state.lag is None else state.lag + pending[0]
        self._tell_unread(state)
        if trim:
            await self._trim(keep)
        await self._remove_consumers()

    def _tell_unread(self, state: State) -> None:
        found = state.unread_removed
        if found is None:
            return
        if self._unread is not None and found > self._unread:
            lost = found - self._unread
            self._gaps.report("trimmed-unread", [self.key], events=lost, group=self._name)
        self._unread = found

    async def _pending(self) -> list[Any]:
        """Return how many entries are given out and not settled, and the first of them.

        It is asked after the position: what is not above that and not pending was settled.
        """
        (pending,) = await self._server.ask_group([("XPENDING", self.key, self._name)])
        return list(pending)

    async def _remove_consumers(self) -> None:
        """Remove those that have nothing pending, which would be lost; Redis checks that again."""
        (consumers,) = await self._server.ask_group([("XINFO", "CONSUMERS", self.key, self._name)])
        for found in map(_pairs, consumers):
            name, idle = found[b"name"], int(GONE_AFTER * 1000)
            if found[b"pending"] or found[b"idle"] < idle or name == self._consumer.encode():
                continue
            arguments = (self.key, self._name, name, idle)
            (removed,) = await self._server.ask_group([("EVAL", _REMOVE, 1, *arguments)])
            if removed:
                said = name.decode(errors="backslashreplace")
                log.info("stream-consumer-removed", stream=self.key, consumer=said)

    async def standing(self) -> tuple[State, Id]:
        """Return the stream, and up to where it was given out to any consumer.

        Raises Unavailable or Vanished.
        """
        state = await state_of(self._server, self.key, self._name)
        if state is None or state.delivered is None:
            raise Vanished(self.key)
        return state, state.delivered

    async def _trim(self, keep: Id | None) -> None:
        """Drop what every group has settled, not only ours."""
        (found,) = await self._server.ask_group([("XINFO", "GROUPS", self.key)])
        groups = [_pairs(group) for group in found]
        pending = await self._server.ask_group(
            ("XPENDING", self.key, group[b"name"]) for group in groups
        )
        settled = [
            _settled(parse_id(group[b"last-delivered-id"]), waiting)
            for group, waiting in zip(groups, pending, strict=True)
        ]
        unwanted = min(settled) if keep is None else min(*settled, keep)
        # `~`: whole nodes only, which costs Redis next to nothing
        await self._server.ask_group([("XTRIM", self.key, "MINID", "~", show_id(unwanted))])

    # --- entries --------------------------------------------------------------------------

    async def pending(self, after: bytes, count: int) -> list[Entry]:
        """Return our entries that were given out before and never acknowledged, in order."""
        words = ("XREADGROUP", "GROUP", self._name, self._consumer, "COUNT", count)
        (reply,) = await self._server.ask_group([(*words, "STREAMS", self.key, after)])
        return list(reply[0][1]) if reply else []

    async def claim(
        self, cursor: bytes, count: int, idle: float
    ) -> tuple[bytes, list[Entry], list[bytes]]:
        """Claim what any consumer left untouched for `idle` seconds: next cursor, entries, lost."""
        words: Command = ("XAUTOCLAIM", self.key, self._name, self._consumer, int(idle * 1000))
        (reply,) = await self._server.ask_group([(*words, cursor, "COUNT", count)])
        lost = list(reply[2]) if len(reply) > 2 else []  # Redis 6.2 gives these without fields
        return reply[0], [entry for entry in reply[1] if entry], lost

    async def touch(self, ids: list[bytes]) -> None:
        """Mark these as being worked on, so that no other consumer claims them."""
        words: Command = ("XCLAIM", self.key, self._name, self._consumer, 0)
        await self._server.ask_group((*words, *few, "JUSTID") for few in in_portions(ids))

    def acknowledge(self, ids: list[bytes]) -> list[Command]:
        """Return the commands that acknowledge these."""
        return [("XACK", self.key, self._name, *few) for few in in_portions(ids)]


async def state_of(server: StreamServer, key: str, name: str = "") -> State | None:
    """Return a stream and a group on it; None if it does not exist. Raises Unavailable."""
    stream, groups = await server.ask([("XINFO", "STREAM", key), ("XINFO", "GROUPS", key)])
    for reply in (stream, groups):
        if isinstance(reply, Exception):
            if is_no_key(reply):
                return None
            raise server.rejected(reply, f"the stream {key}")
    about = _pairs(stream)
    group = next((g for g in map(_pairs, groups) if g[b"name"] == name.encode()), {})
    return State(
        last=parse_id(about[b"last-generated-id"]),
        first=parse_id(about[b"first-entry"][0]) if about[b"first-entry"] else None,
        added=about.get(b"entries-added"),
        length=about[b"length"],
        delivered=parse_id(group[b"last-delivered-id"]) if group else None,
        read=group.get(b"entries-read"),
        lag=group.get(b"lag"),
    )


async def begin(server: StreamServer, start: Start, state: State | None) -> str:
    """Return the id after which reading begins. Raises Unavailable."""
    if start.at == "latest":
        return LATEST
    if start.at == "earliest" or state is None:
        return show_id(NOTHING)
    (now,) = await server.insist([("TIME",)])
    since = int(now[0]) * 1000 - int(start.seconds * 1000)
    return show_id(before((max(0, since), 0)))


def _settled(delivered: Id, pending: list[Any]) -> Id:
    return min(delivered, before(parse_id(pending[1]))) if pending[1] else delivered


def in_portions(ids: list[bytes]) -> Iterator[list[bytes]]:
    for at in range(0, len(ids), TOGETHER):
        yield ids[at : at + TOGETHER]


def _pairs(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
