"""Until when a Redis remembers what was deleted there: a note that lies among its own data.

A failover, or a restart from a snapshot, takes a Redis back to an earlier time. The note says to
which: whatever was deleted before it was written is deleted in every copy of the data that has it.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from invalidator.layout import MOMENT
from invalidator.redisclient import Client, converse, key_on_each
from invalidator.redisclient.errors import Meaning, diagnose, reaching
from invalidator.redisclient.identity import Ask, Identity, identified

log = structlog.get_logger("invalidator")

KEPT: Final = 7 * 86_400  # seconds that a note outlives its last change
RENEW: Final = 86_400.0  # seconds until it is written again, though nothing was deleted
FORBIDDEN: Final = ("noperm", "refused")

Identities = Mapping[str, Identity]  # by the primary's address; none where we may not ask


class Moments:
    """The notes on one Redis; of a cluster, on each primary."""

    def __init__(self, client: Client, name: str, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.worked = True  # something was deleted here since the last note
        self._client = client
        self._clock = clock
        self._written: dict[str, float] = {}  # when, by key
        self._lacking = ""  # the permission without which nothing is noticed

    async def look(self, token: str, known: Identities) -> Identities:
        """Who answers now. Those who are as known note that they remember all up to now.

        Raises Unavailable.
        """
        worked, self.worked = self.worked, False
        found: dict[str, Identity] = {}
        try:
            with reaching(self.name):
                for address, (server, key) in (await self._places(token)).items():
                    if identity := await self._look(server, key, known.get(address), worked):
                        found[address] = identity
        except BaseException:
            self.worked = worked or self.worked
            raise
        return found

    async def until(self, token: str) -> float:
        """What was deleted before is remembered; -inf: nobody knows. Raises Unavailable."""
        with reaching(self.name):
            keys = [key for _, key in (await self._places(token)).values()]
            replies = await converse(self._client, [("GET", key) for key in keys])
        return min(map(self._moment, replies), default=-math.inf)

    async def _places(self, token: str) -> Mapping[str, tuple[Redis, str]]:
        return await key_on_each(self._client, lambda n: MOMENT.format(token=token, number=n))

    async def _look(
        self, server: Redis, key: str, known: Identity | None, worked: bool
    ) -> Identity | None:
        now = self._clock()
        try:
            async with identified(server) as (identity, ask):
                due = worked or now - self._written.get(key, -math.inf) > RENEW
                if identity == known and due:
                    await self._note(ask, key, now)
                return identity
        except ResponseError as error:
            self._unless_forbidden(error)
            return None

    async def _note(self, ask: Ask, key: str, now: float) -> None:
        """A server without memory left, say, takes none: then the last one has to do."""
        try:
            await ask([("SET", key, int(now * 1000), "EX", KEPT)])
        except ResponseError as error:
            self.worked = True
            log.debug("moment-not-noted", server=self.name, reason=diagnose(error).message)
            if diagnose(error).code in FORBIDDEN:
                self._say_once(error)
        else:
            self._written[key] = now

    def _moment(self, reply: object) -> float:
        if isinstance(reply, ResponseError):
            self._unless_forbidden(reply)
        return int(reply) / 1000 if isinstance(reply, bytes) and reply.isdigit() else -math.inf

    def _unless_forbidden(self, error: ResponseError) -> None:
        """What is no server for now, raises; what answers no such question, never will."""
        verdict = diagnose(error)
        if verdict.meaning is Meaning.UNAVAILABLE and verdict.code not in FORBIDDEN:
            raise verdict.unavailable(self.name)
        self._say_once(error)

    def _say_once(self, error: ResponseError) -> None:
        verdict = diagnose(error)
        if self._lacking != verdict.message:
            self._lacking = verdict.message
            log.warning("failovers-go-unnoticed", server=self.name, reason=verdict.message)
