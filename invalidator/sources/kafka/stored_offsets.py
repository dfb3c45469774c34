"""A group's positions in the state's Redis: brokers forget a group that had no member for a week.

They are used only where the brokers know no position of the group any more, and may be some
seconds old: then a few records are read again.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog
from aiokafka import TopicPartition
from redis.exceptions import RedisError

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.redisclient import Client, Command, Reply
from invalidator.redisclient.server import Server

log = structlog.get_logger("invalidator")

KEPT: Final = 90 * 86_400  # seconds after the last change


class StoredOffsets:
    """The stored positions of one group. Without permission for them nothing is stored."""

    def __init__(self, client: Client, group: str) -> None:
        self._client = client
        self._server = Server(client, "the state's Redis")
        self._key = layout.OFFSETS.format(group=group)
        self._stored: dict[TopicPartition, int] = {}
        self._denied = False

    async def load(self) -> dict[TopicPartition, int]:
        """Return the stored positions. Raises Unavailable."""
        (found,) = await self._ask([("HGETALL", self._key)]) or [[]]
        words = [word.decode() for word in found]
        return dict(map(_parse, words[::2], words[1::2]))

    async def store(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store these; what cannot be stored now is stored with the next."""
        changed = {tp: at for tp, at in offsets.items() if self._stored.get(tp) != at}
        if not changed:
            return
        pairs = [word for tp, at in changed.items() for word in (f"{tp.topic}@{tp.partition}", at)]
        commands: list[Command] = [("HSET", self._key, *pairs), ("EXPIRE", self._key, KEPT)]
        try:
            await self._ask(commands)
        except Unavailable as error:
            log.debug("kafka-offsets-not-stored", reason=str(error))
        else:
            self._stored |= changed

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose()

    async def _ask(self, commands: list[Command]) -> list[Reply]:
        """Return the replies; nothing where we may not ask. Raises Unavailable."""
        if self._denied:
            return []
        try:
            return await self._server.insist(commands)
        except Unavailable as error:
            if error.code != "noperm" and "unknown command" not in str(error).lower():
                raise
            self._denied = True
            log.warning(
                "kafka-offsets-not-stored",
                reason=str(error),
                means="a group that the brokers forget while no daemon runs starts as a new one",
                advice="grant +hgetall, +hset and +expire: docs/redis-contract.md",
            )
            return []


def _parse(name: str, offset: str) -> tuple[TopicPartition, int]:
    topic, _, partition = name.rpartition("@")
    return TopicPartition(topic, int(partition)), int(offset)
