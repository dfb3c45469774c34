"""The driver for asyncio of a cache on a backplane: it announces, and reads through an L1."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from invalidator import layout
from invalidator.cache import protocol
from invalidator.cache.asyncio_driver import Driver, Loader
from invalidator.cache.backplane import PING, Announced, Follower, Sender, keys_of
from invalidator.cache.base import Base
from invalidator.cache.entry import Names
from invalidator.cache.errors import CacheUnavailable
from invalidator.cache.l1 import L1, NOTHING, SILENCE, stands_in
from invalidator.cache.links import CONNECT, Replies, link_of
from invalidator.cache.process import Spec
from invalidator.cache.requests import Found
from invalidator.cache.scripts import Command

GATHER: Final = 0.005  # seconds between reads: what comes meanwhile costs one wake-up


def driver_of(cache: Base, client: Any, *driver: Any) -> Driver:
    """Return the driver of a cache, as far as it takes part in the backplane."""
    if cache.l1 is not None:
        return NearDriver(client, cache.l1, *driver)
    return AnnouncingDriver(*driver) if cache.backplane else Driver(*driver)


class AnnouncingDriver(Driver):
    """Announces what writers of this process invalidate."""

    def __init__(self, *driver: Any) -> None:
        super().__init__(*driver)
        self._sender = Sender()
        self._turn = asyncio.Lock()  # messages arrive in the order of their numbers

    async def change(
        self, commands: Sequence[Command], kind: Announced, names: Sequence[str]
    ) -> list[Any]:
        """Run a writer's commands, and announce what they invalidate."""
        replies = await super().change(commands, kind, names)
        async with self._turn:
            for command in self._sender.commands(kind, names):
                await self.send([command])
        return replies


class NearDriver(AnnouncingDriver):
    """Reads through an L1, which follows the announcements."""

    def __init__(self, client: Any, l1: L1, *driver: Any) -> None:
        super().__init__(*driver)
        self._l1 = l1
        self._client = client
        self._follower = Follower(l1, self._here)
        self._link: asyncio.Task[None] | None = None

    async def read(self, names: Names, spec: Spec, load: Loader) -> Any:
        """Return an entry's value, from the L1, from the cache or from its loader."""
        value = self._l1.look(names.key, names.declared, spec)
        if value is not NOTHING:
            return value
        names = self._here.known(names)
        found = await self._find(names, spec)
        try:
            return await self.drive(protocol.read(names, spec, self._here, found), load)
        except Exception as error:
            if stands_in(spec, self._breaker, error):
                value = self._l1.last(names, spec)
                if value is not NOTHING:
                    return value
            raise

    async def _find(self, names: Names, spec: Spec) -> Found | None:
        """Read from Redis, and keep a copy; None where Redis is unavailable."""
        if self._link is None:
            self._link = self._spawn(self._follow())
        mark = self._l1.began(names) if spec.policy.l1_ttl else None
        found: Found | None = None
        try:
            found = await self.get(names.keys)
        except CacheUnavailable:
            return None
        finally:
            if mark is not None:
                self._l1.ended(mark, names, spec, self._here, found)
        return found

    async def change(
        self, commands: Sequence[Command], kind: Announced, names: Sequence[str]
    ) -> list[Any]:
        try:
            return await super().change(commands, kind, names)
        finally:  # also where nobody knows whether it was done
            self._l1.drop(keys_of(kind, names, self._here))

    # --- the link -------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Follow the announcements; connect again after a failure."""
        try:
            while True:
                try:
                    await self._listen()
                except (RedisError, OSError, TimeoutError):
                    self._follower.lost()
                await asyncio.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - spreads reconnections
        finally:
            self._follower.lost()
            self._link = None

    async def _listen(self) -> None:
        link = link_of(self._client, socket_timeout=None)
        pinging: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(CONNECT):
                await link.connect()
                await link.send_command("SUBSCRIBE", layout.APPLIED)
            replies = Replies(link)
            async with asyncio.timeout(CONNECT):
                await replies.read()
            self._follower.subscribed()
            pinging = asyncio.create_task(self._ping(link))
            while True:
                for reply in await replies.read():
                    if reply[0] == b"message":
                        self._follower.hear(reply[2])
                    else:
                        self._follower.alive()
                await asyncio.sleep(GATHER)
        finally:
            if pinging is not None:
                pinging.cancel()
            await link.disconnect(nowait=True)

    async def _ping(self, link: Any) -> None:
        """Try a link that is silent; break one that does not answer."""
        while self._follower.silent_for() < SILENCE:
            await asyncio.sleep(PING)
            if self._follower.silent_for() >= PING:
                await link.send_command("PING")
        await link.disconnect(nowait=True)
