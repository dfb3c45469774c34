"""Let tests switch a cache off, watch it, let Redis fail, or give it another store.

Each is a context: what it changed is as before when it ends.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as NoConnection

from invalidator.cache.entry import Names
from invalidator.cache.errors import CacheUnavailable
from invalidator.cache.scripts import BUMP, LEASE, VERSION, Command
from invalidator.cache.servers import Reply
from invalidator.cache.stats import Stats, summed

if TYPE_CHECKING:
    from invalidator.cache.base import Base

VERSION_LIFE = 600_000  # ms that a test's versions live


class Change:
    """Changes what is on the way to a server; this one changes nothing."""

    pause = 0.0  # seconds before each call

    def keys(self, keys: Sequence[str]) -> Sequence[str]:
        return keys

    def commands(self, commands: Sequence[Command]) -> Sequence[Command]:
        """Return the commands to run; replies to those that are appended are dropped."""
        return commands


class Off(Change):
    """Nothing is read and nothing is filled; what invalidates still does."""

    def keys(self, keys: Sequence[str]) -> Sequence[str]:
        raise CacheUnavailable("the cache is switched off")

    def commands(self, commands: Sequence[Command]) -> Sequence[Command]:
        if any(command[1] == LEASE.sha for command in commands):
            raise CacheUnavailable("the cache is switched off")
        return commands


class Chaos(Change):
    """Some calls fail, and all are slow."""

    def __init__(self, fail: float, slow: float) -> None:
        self._fail = fail
        self.pause = slow

    def keys(self, keys: Sequence[str]) -> Sequence[str]:
        self._draw()
        return keys

    def commands(self, commands: Sequence[Command]) -> Sequence[Command]:
        self._draw()
        return commands

    def _draw(self) -> None:
        if random.random() < self._fail:  # noqa: S311 - chance is its purpose
            raise NoConnection("chaos")


class Prefixed(Change):
    """Every key begins with a prefix of its own."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def keys(self, keys: Sequence[str]) -> Sequence[str]:
        return [self._prefix + key for key in keys]

    def commands(self, commands: Sequence[Command]) -> Sequence[Command]:
        versions = [c[3] for c in commands if c[1] in (VERSION.sha, BUMP.sha)]
        bounded: list[Command] = [
            ("PEXPIRE", f"{self._prefix}{key!s}", VERSION_LIFE) for key in versions
        ]
        return [*map(self._command, commands), *bounded]

    def _command(self, command: Command) -> Command:
        at = {"EVALSHA": 3, "PUBLISH": None}.get(str(command[0]), 1)
        if at is None:
            return command
        return (*command[:at], f"{self._prefix}{command[at]!s}", *command[at + 1 :])


class Changed:
    """A server behind a change, for asyncio."""

    def __init__(self, server: Any, change: Change) -> None:
        self._server = server
        self._change = change

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        await asyncio.sleep(self._change.pause)
        found: list[bytes | None] = await self._server.get(self._change.keys(keys))
        return found

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        await asyncio.sleep(self._change.pause)
        replies: list[Reply] = await self._server.send(self._change.commands(commands))
        return replies[: len(commands)]


class SyncChanged:
    """A server behind a change, for threads."""

    def __init__(self, server: Any, change: Change) -> None:
        self._server = server
        self._change = change

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        time.sleep(self._change.pause)
        found: list[bytes | None] = self._server.get(self._change.keys(keys))
        return found

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        time.sleep(self._change.pause)
        replies: list[Reply] = self._server.send(self._change.commands(commands))
        return replies[: len(commands)]


def _driver(cache: Any) -> Any:
    return cache.driver  # of either world


@contextmanager
def served_by(cache: "Base", server: Any) -> Iterator[None]:
    """Let a cache use another server, without the copies in this process."""
    driver = _driver(cache)
    before = driver._server
    with cache.l1.paused() if cache.l1 is not None else nullcontext():
        driver._server = server
        try:
            yield
        finally:
            driver._server = before


@contextmanager
def changed(cache: "Base", change: Change) -> Iterator[None]:
    """Put a change between a cache and its server."""
    server = _driver(cache)._server
    wrap = Changed if asyncio.iscoroutinefunction(server.get) else SyncChanged
    with served_by(cache, wrap(server, change)):
        yield


class Watch:
    """Tells what a cache did within a context; it may be looked at before that ends."""

    def __init__(self, stats: dict[str, Stats]) -> None:
        self._stats = stats
        self._before = summed(stats.values())
        self._after: Stats | None = None
        self.keys: list[
            str
        ] = []  # that were read, in order; those of `get_many` are not among them

    @property
    def loads(self) -> int:
        """Return how often a loader was called, with and without caching."""
        return self._count("loads", "alone", "bypassed")

    @property
    def hits(self) -> int:
        """Return how many reads were served from the cache, stale values among them."""
        return self._count("l1", "hits", "stale")

    def ended(self) -> None:
        self._after = summed(self._stats.values())

    def _count(self, *names: str) -> int:
        after = self._after or summed(self._stats.values())
        return sum(getattr(after, name) - getattr(self._before, name) for name in names)


@contextmanager
def watched(cache: "Base") -> Iterator[Watch]:
    """Note what a cache reads; readers take the long way, on which each is seen."""
    watch, driver, near = Watch(cache._here.stats), _driver(cache), cache.near
    read = driver.read

    def noted(names: Names, *rest: Any) -> Any:
        watch.keys.append(names.key)
        return read(names, *rest)

    driver.read = noted
    cache.near = None
    try:
        yield watch
    finally:
        cache.near = near
        if driver.read is noted:
            driver.read = read
        watch.ended()
