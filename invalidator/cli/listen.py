"""Receive announcements from one or several Redis servers, and report gaps."""

import asyncio
import time
from collections.abc import Callable, Mapping

from msgspec import Struct

from invalidator import layout
from invalidator.cli.follower import Follower, Gap
from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.redisclient import Client
from invalidator.runtime.health import Part
from invalidator.runtime.retry import until_available
from invalidator.sources.pubsub.source import PubSubSource
from invalidator.targets.redis.messages import Message, parse

BUFFER = 10_000  # messages; more are dropped, which shows as a gap
AT_ONCE = 100  # messages, before silent senders are looked for


class Lost(Struct, frozen=True):
    """A Redis is unavailable. What is announced meanwhile shows as gaps later."""

    server: str
    reason: str

    def __str__(self) -> str:
        return f"{self.server} is unavailable, retrying: {self.reason}"


Heard = Message | Gap | Lost
Tell = Callable[[Heard], bool]  # true when enough was received


async def listen(clients: Mapping[str, Client], tell: Tell) -> None:
    """Receive from these clients, by name, and reconnect them, until `tell` returns true."""
    enough = asyncio.Event()

    def told(heard: Heard) -> bool:
        if tell(heard):
            enough.set()
        return enough.is_set()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_Listener(*one, told).follow()) for one in clients.items()]
            await enough.wait()
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failed:  # a closed pipe must be recognisable
        raise failed.exceptions[0] from None


class _Listener:
    """Receives from one Redis."""

    def __init__(self, name: str, client: Client, tell: Tell) -> None:
        self._tell = tell
        self._part = Part(name)
        self._source = PubSubSource(
            client, [layout.APPLIED], part=self._part, buffer=BUFFER, max_wait=0
        )
        self._follower = Follower(time.monotonic)
        self._lost = False

    async def follow(self) -> None:
        try:
            await until_available(self._open, self._part)
            while True:
                try:
                    batch = await self._source.read(AT_ONCE)
                except Unavailable as error:
                    self._say_lost(error)
                    await until_available(self._open, self._part)
                    self._follower.reconnected()
                else:
                    self._read(batch)
        finally:
            await self._source.close()

    async def _open(self) -> None:
        try:
            await self._source.open()
        except Unavailable as error:
            self._say_lost(error)
            raise
        self._lost = False

    def _say_lost(self, error: Unavailable) -> None:
        if not self._lost:
            self._lost = True
            self._tell(Lost(self._part.name, str(error).removeprefix(f"{error.server}: ")))

    def _read(self, batch: Batch | None) -> None:
        for record in batch.records() if batch else ():
            message = parse(record.raw or b"")
            if message is None:
                continue
            if (gap := self._follower.read(message)) and self._tell(gap):
                return
            if self._tell(message):
                return
        for gap in self._follower.look_around():
            self._tell(gap)
