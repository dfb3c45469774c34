"""A group's positions in the state's Redis: brokers forget a group that has no member for a week.

They are only used where the brokers know no position of the group any more, and may be some
seconds old: then a few records are read again.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from aiokafka import TopicPartition
from redis.exceptions import RedisError

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.redisclient import Client
from invalidator.redisclient.errors import diagnose
from invalidator.redisclient.server import Server

log = structlog.get_logger("invalidator")

STORE_EVERY: Final = 15.0  # seconds
KEPT: Final = 90 * 86_400  # seconds after the last change


class StoredOffsets:
    """The stored positions of one group. Without permission for them, nothing is stored."""

    def __init__(
        self, client: Client, group: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._server = Server(client, "the state")
        self._key = layout.OFFSETS.format(group=group)
        self._clock = clock
        self._store_at = 0.0
        self._stored: dict[TopicPartition, int] = {}

    async def load(self) -> dict[TopicPartition, int]:
        """Return the stored positions. Raises Unavailable."""
        (found,) = await self._server.send([("HGETALL", self._key)])
        if isinstance(found, Exception):
            self._unless_denied(found)
            return {}
        flat = [part.decode() for part in found]
        named = [
            (*name.rpartition("@"), offset)
            for name, offset in zip(flat[::2], flat[1::2], strict=True)
        ]
        return {TopicPartition(topic, int(at)): int(offset) for topic, _, at, offset in named}

    async def store(self, offsets: Mapping[TopicPartition, int], *, now: bool = False) -> None:
        """Store these from time to time, or `now`. What cannot be stored is tried again later."""
        changed = {tp: at for tp, at in offsets.items() if self._stored.get(tp) != at}
        if not changed or not (now or self._clock() >= self._store_at):
            return
        self._store_at = self._clock() + STORE_EVERY
        pairs = [part for tp, at in changed.items() for part in (f"{tp.topic}@{tp.partition}", at)]
        with suppress(Unavailable):
            for reply in await self._server.send(
                [("HSET", self._key, *pairs), ("EXPIRE", self._key, KEPT)]
            ):
                if isinstance(reply, Exception):
                    self._unless_denied(reply)
                    break
            else:
                self._stored |= changed

    async def aclose(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose()

    def _unless_denied(self, error: Exception) -> None:
        """Raise what may be over soon; warn where we may never read or store them."""
        verdict = diagnose(error)
        if verdict.code not in ("noperm", "refused"):  # refused: the server has no such command
            raise verdict.unavailable(self._server.name)
        self._store_at = float("inf")
        log.warning(
            "kafka-offsets-not-stored",
            reason=str(error),
            means="if the brokers forget the group while no daemon runs, it begins anew",
            advice="grant +hgetall, +hset and +expire: docs/redis-contract.md",
        )
