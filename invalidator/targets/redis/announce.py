"""The backplane: what was applied is announced on a channel, before it is acknowledged.

docs/backplane.md says how a listener reads it and how it knows that it missed something.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import structlog

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.model import Cause, Names
from invalidator.redisclient import Client, Reply, publish
from invalidator.redisclient.errors import diagnose, reaching
from invalidator.runtime import metrics
from invalidator.targets.redis import messages as message
from invalidator.targets.redis.messages import Sender, Sign

log = structlog.get_logger("invalidator")

HEARTBEAT: Final = 1.0  # seconds
AGAIN: Final = 30.0  # seconds until publishing is tried again where it is forbidden
FORBIDDEN: Final = ("noperm", "refused")  # refused: the server does not know the command

When = Literal["listened", "always", "never"]


class Announcer:
    """Announces what was applied on one Redis.

    Numbers grow by one with each message, also with those that are not sent because nobody would
    receive them: a listener that returns sees that it missed some. Redis replies to each message,
    heartbeats included, how many received it.
    """

    def __init__(
        self,
        client: Client,
        server: str,
        *,
        when: When = "listened",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._server = server
        self._when = when
        self._clock = clock
        self._sleep = sleep
        # An instance of its own: announcers of two databases of one server share a channel.
        self._sender = Sender(secrets.token_hex(8), self._now())
        self._seq = 0
        self._listeners = 0
        self._forbidden = False
        self._turn = asyncio.Lock()  # messages arrive in the order of their numbers

    @property
    def has_listeners(self) -> bool:
        """Return whether anybody would receive a message now."""
        return not self._forbidden and (self._listeners > 0 or self._when == "always")

    def skip(self, count: int = 1) -> None:
        """Count messages that are not sent."""
        if self._when != "never":
            self._seq += count
            metrics.ANNOUNCED.labels("skipped").inc(count)

    async def announce(self, cause: Cause, cache: str, names: Names) -> None:
        """Announce that these were invalidated. Raises Unavailable; then it may be repeated."""
        if not self.has_listeners:
            kinds = (names.keys, names.patterns, names.tags, names.versions)
            self.skip(sum(map(bool, kinds)))
            return
        async with self._turn:
            first = self._seq + 1
            said = message.applied(self._sender, first, self._now(), cause, cache, names)
            # Even if sending fails: a number is never used twice.
            self._seq += len(said)
            await self._publish(said)

    async def run(self) -> None:
        """Send a heartbeat each second, until cancelled."""
        while self._when != "never":
            await self._sign_of_life("heartbeat")
            await self._sleep(AGAIN if self._forbidden else HEARTBEAT)

    async def end(self) -> None:
        """Announce that we will apply nothing more."""
        if self.has_listeners:
            await self._sign_of_life("bye")

    async def _sign_of_life(self, sign: Sign) -> None:
        async with self._turn:
            said = message.sign_of_life(sign, self._sender, self._seq, self._now())
            try:
                await self._publish([said])
            except Unavailable:
                return  # it shows where names are deleted

    async def _publish(self, messages: Sequence[bytes]) -> None:
        with reaching(self._server):
            replies = await publish(self._client, layout.APPLIED, messages)
        for reply in replies:
            self._note(reply)

    def _note(self, reply: Reply) -> None:
        if not isinstance(reply, Exception):
            self._forbidden = False
            self._note_listeners(reply)
            metrics.ANNOUNCED.labels("sent").inc()
            return
        verdict = diagnose(reply)
        if verdict.code not in FORBIDDEN:
            raise verdict.unavailable(self._server)
        metrics.ANNOUNCED.labels("refused").inc()
        self._note_listeners(0)
        if not self._forbidden:
            self._forbidden = True
            log.warning(
                "not-announced", server=self._server, channel=layout.APPLIED, reason=verdict.message
            )

    def _note_listeners(self, listeners: int) -> None:
        metrics.LISTENERS.inc(listeners - self._listeners)
        self._listeners = listeners

    def _now(self) -> int:
        return int(self._clock() * 1000)
