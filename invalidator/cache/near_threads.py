"""The driver for threads of a cache on a backplane: it announces, and reads through an L1."""

import random
import threading
from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TimedOut

from invalidator import layout
from invalidator.cache import protocol
from invalidator.cache.backplane import PING, Announced, Follower, Sender, keys_of
from invalidator.cache.base import Base
from invalidator.cache.entry import Names
from invalidator.cache.errors import CacheUnavailable
from invalidator.cache.l1 import L1, NOTHING, SILENCE, stands_in
from invalidator.cache.links import link_of
from invalidator.cache.process import Spec
from invalidator.cache.requests import Found
from invalidator.cache.scripts import Command
from invalidator.cache.thread_driver import SyncDriver, SyncLoader


def sync_driver_of(cache: Base, client: Any, *driver: Any) -> SyncDriver:
    """Return the driver of a cache, as far as it takes part in the backplane."""
    if cache.l1 is not None:
        return SyncNearDriver(client, cache.l1, *driver)
    return SyncAnnouncingDriver(*driver) if cache.backplane else SyncDriver(*driver)


class SyncAnnouncingDriver(SyncDriver):
    """Announces what writers of this process invalidate."""

    def __init__(self, *driver: Any) -> None:
        super().__init__(*driver)
        self._sender = Sender()
        self._turn = threading.Lock()  # messages arrive in the order of their numbers

    def change(
        self, commands: Sequence[Command], kind: Announced, names: Sequence[str]
    ) -> list[Any]:
        """Run a writer's commands, and announce what they invalidate."""
        replies = super().change(commands, kind, names)
        with self._turn:
            for command in self._sender.commands(kind, names):
                self.send([command])
        return replies


class SyncNearDriver(SyncAnnouncingDriver):
    """Reads through an L1, which follows the announcements in a thread of its own."""

    def __init__(self, client: Any, l1: L1, *driver: Any) -> None:
        super().__init__(*driver)
        self._l1 = l1
        self._client = client
        self._follower = Follower(l1, self._here)
        self._ended = threading.Event()
        self._link: threading.Thread | None = None

    def close(self) -> None:
        """End the thread as well; it looks once a second."""
        self._ended.set()
        super().close()
        if self._link is not None:
            self._link.join()

    def read(self, names: Names, spec: Spec, load: SyncLoader) -> Any:
        """Return an entry's value, from the L1, from the cache or from its loader."""
        value = self._l1.look(names.key, names.declared, spec)
        if value is not NOTHING:
            return value
        names = self._here.known(names)
        found = self._find(names, spec)
        try:
            return self.drive(protocol.read(names, spec, self._here, found), load)
        except Exception as error:
            if stands_in(spec, self._breaker, error):
                value = self._l1.last(names, spec)
                if value is not NOTHING:
                    return value
            raise

    def _find(self, names: Names, spec: Spec) -> Found | None:
        """Read from Redis, and keep a copy; None where Redis is unavailable."""
        if self._link is None:
            self._begin()
        mark = self._l1.began(names) if spec.policy.l1_ttl else None
        found: Found | None = None
        try:
            found = self.get(names.keys)
        except CacheUnavailable:
            return None
        finally:
            if mark is not None:
                self._l1.ended(mark, names, spec, self._here, found)
        return found

    def change(
        self, commands: Sequence[Command], kind: Announced, names: Sequence[str]
    ) -> list[Any]:
        try:
            return super().change(commands, kind, names)
        finally:  # also where nobody knows whether it was done
            self._l1.drop(keys_of(kind, names, self._here))

    # --- the link -------------------------------------------------------------------------------

    def _begin(self) -> None:
        with self._lock:
            if self._link is None and not self._closed:
                name = "invalidator-cache-backplane"
                self._link = threading.Thread(target=self._follow, name=name, daemon=True)
                self._link.start()

    def _follow(self) -> None:
        """Follow the announcements; connect again after a failure."""
        while not self._ended.is_set():
            try:
                self._listen()
            except (RedisError, OSError):
                pass  # it is connected again
            finally:
                self._follower.lost()
            self._ended.wait(random.uniform(0.1, 1.0))  # noqa: S311 - spreads reconnections

    def _listen(self) -> None:
        link = link_of(self._client, socket_timeout=PING)
        try:
            link.connect()
            link.send_command("SUBSCRIBE", layout.APPLIED)
            link.read_response(timeout=SILENCE)
            self._follower.subscribed()
            while not self._ended.is_set():
                self._receive(link)
        finally:
            link.disconnect()

    def _receive(self, link: Any) -> None:
        """Receive one message; try a link that is silent, and leave one that does not answer."""
        try:
            reply = link.read_response(disconnect_on_error=False)
        except TimedOut:
            if self._follower.silent_for() >= SILENCE:
                raise
            link.send_command("PING")
        else:
            if reply[0] == b"message":
                self._follower.hear(reply[2])
            else:
                self._follower.alive()
