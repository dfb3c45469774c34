"""Sweeps that a fleet shares: one member walks the keyspace for all that wait.

Each member stores the patterns that it waits for, and then looks now and then whether somebody has
served them. Whoever holds the lease sweeps for all requests that were stored before its walk
began, leaves a result for each, and only then removes the requests. If it dies, its lease expires,
and the next one to look takes over.

Nothing here has to be exact. Two members that sweep at once delete the same keys twice. A request
that is lost with its server is stored again, since only a result counts as an answer.

Members that protect different keys do not sweep for each other: their requests are kept apart.
"""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.redisclient import Command, Reply
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Server, Sleep
from invalidator.runtime.tasks import end

log = structlog.get_logger("invalidator")

LEASE: Final = 5.0  # seconds, after which others take over from a silent member
LOOK_EVERY: Final = 0.5  # seconds between two looks for a result
KEPT: Final = 600  # seconds that a result waits for the member that asked
FORGOTTEN: Final = 3600  # seconds after which requests of a fleet that is gone disappear
RELEASE_WITHIN: Final = 1.0  # seconds
# Deleting works without these: the permission, and room for another key.
ALONE: Final = ("noperm", "oom")


class Result(Struct, frozen=True, array_like=True):
    """Holds what a sweep for somebody else could not delete."""

    refused: int
    failed: dict[bytes, Verdict]  # a sample


class Request(Struct, frozen=True):
    """Holds what one member waits for."""

    group: str  # of members that protect the same keys
    number: str
    patterns: frozenset[bytes]


_PATTERNS = msgspec.msgpack.Decoder(list[bytes])
_RESULT = msgspec.msgpack.Decoder(Result)


class Fleet:
    """All daemons that sweep one Redis, as one of them sees them."""

    def __init__(
        self,
        server: Server,
        *,
        lease: float = LEASE,
        look_every: float = LOOK_EVERY,
        token: Callable[[], str] = lambda: uuid.uuid4().hex,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.look_every = look_every
        self.server = server
        self.lease_ms = int(lease * 1000)
        self._new_token = token
        self.me = token()
        self.sleep = sleep
        self._denied = False  # for good, which is logged once

    async def ask(self, patterns: Collection[bytes], spared: Collection[bytes]) -> Request | None:
        """Store a request; return None if this server can store none. Raises Unavailable."""
        request = Request(_group_of(spared), self._new_token(), frozenset(patterns))
        return request if not self._denied and await self._store(request) else None

    async def look(self, request: Request) -> "Result | Turn | None":
        """Return the result of a sweep for this request, or the turn to sweep, or neither.

        The lease is tried first: who has it then sees every answer of its last holder. Raises
        Unavailable.
        """
        lease, done = _lease(request.group), _done(request.group, request.number)
        replies = await self.unless_denied(
            [
                ("SET", lease, self.me, "NX", "PX", self.lease_ms),
                ("HEXISTS", _wanted(request.group), request.number),
                ("GET", done),
            ]
        )
        if replies is None:  # sweep alone
            return Turn(self, request)
        elected, waiting, result = replies
        if result is not None:
            await self.unless_denied(
                [("UNLINK", key) for key in ([done, lease] if elected else [done])]
            )
            return _RESULT.decode(result)
        if not waiting:  # lost, with whatever the server lost
            await self._store(request)
        return Turn(self, request) if elected else None

    async def _store(self, request: Request) -> bool:
        wanted = _wanted(request.group)
        told = msgspec.msgpack.encode(sorted(request.patterns))
        stored = [("HSET", wanted, request.number, told), ("EXPIRE", wanted, FORGOTTEN)]
        return await self.unless_denied(stored) is not None

    async def unless_denied(self, commands: Sequence[Command]) -> list[Reply] | None:
        """Return the replies; None where this server lets nobody share sweeps."""
        try:
            return await self.server.insist(commands)
        except Unavailable as error:
            if error.code not in ALONE:
                raise
            if error.code == "noperm" and not self._denied:
                self._denied = True
                log.warning("sweeps-not-shared", reason=str(error))
            return None


class Turn:
    """A member's turn to sweep for all. The lease is renewed while it lasts, and ended with it."""

    def __init__(self, fleet: Fleet, request: Request) -> None:
        self._fleet = fleet
        self._own = request
        self._lease = _lease(request.group)
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._renewing = asyncio.create_task(self._renew(), name="sweep-lease")

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(Unavailable, TimeoutError):  # then it expires
            async with asyncio.timeout(RELEASE_WITHIN):
                await self._release()

    async def requests(self) -> Mapping[str, frozenset[bytes]]:
        """Return the patterns of all requests, by their numbers. Raises Unavailable."""
        wanted = ("HGETALL", _wanted(self._own.group))
        (told,) = await self._fleet.unless_denied([wanted]) or ([],)
        pairs = zip(told[::2], told[1::2], strict=True)
        return {number.decode(): frozenset(_PATTERNS.decode(each)) for number, each in pairs}

    async def finish(self, served: Collection[str], result: Result) -> None:
        """Answer these requests, remove them and our own, end the lease. Raises Unavailable."""
        told = msgspec.msgpack.encode(result)
        others = [number for number in served if number != self._own.number]
        answers: list[Command] = [
            ("SET", _done(self._own.group, each), told, "EX", KEPT) for each in others
        ]
        if await self._fleet.unless_denied(answers) is None:
            others = []  # they are still wanted
        removed = ("HDEL", _wanted(self._own.group), self._own.number, *others)
        await self._fleet.unless_denied([removed])
        await self._release()

    async def _release(self) -> None:
        renewing, self._renewing = self._renewing, None
        if renewing:
            await end(renewing)
            if await self._is_ours():
                await self._fleet.unless_denied([("UNLINK", self._lease)])

    async def _renew(self) -> None:
        while True:
            await self._fleet.sleep(self._fleet.lease_ms / 3000)
            with contextlib.suppress(Unavailable):  # the sweep itself notices that
                if await self._is_ours():
                    again = ("SET", self._lease, self._fleet.me, "XX", "PX", self._fleet.lease_ms)
                    await self._fleet.unless_denied([again])

    async def _is_ours(self) -> bool:
        replies = await self._fleet.unless_denied([("GET", self._lease)])
        return replies is not None and replies[0] == self._fleet.me.encode()


def _group_of(spared: Collection[bytes]) -> str:
    """Return the group of those that protect the same keys; in braces, a hash tag."""
    digest = hashlib.sha256(msgspec.msgpack.encode(sorted(spared))).hexdigest()
    return f"{{{digest[:12]}}}"


def _wanted(group: str) -> str:
    return layout.SWEEP_WANTED.format(group=group)


def _lease(group: str) -> str:
    return layout.SWEEP_LEASE.format(group=group)


def _done(group: str, number: str) -> str:
    return layout.SWEEP_DONE.format(group=group, number=number)
