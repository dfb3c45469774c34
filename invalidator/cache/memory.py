"""Redis's part of the protocol over a dict: for tests that need no Redis."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from invalidator.cache.cache import Cache
from invalidator.cache.entry import NO_TOKEN, listed_names
from invalidator.cache.errors import CacheError
from invalidator.cache.kinds import Time, seconds
from invalidator.cache.scripts import (
    BUMP,
    DONE,
    EXPIRE,
    FINISH,
    GRANTED,
    LEASE,
    OLDER,
    PUT,
    REFUSED,
    RELEASE,
    REPLACE,
    STAMP,
    VERSION,
    Command,
    Script,
)
from invalidator.cache.servers import Reply
from invalidator.cache.steering import served_by
from invalidator.cache.sync_cache import SyncCache

FOREVER: Final = float("inf")
NO_VERSION: Final = b"0" * 16


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self._now = time.time()

    def __call__(self) -> float:
        return self._now

    def tick(self, by: Time) -> None:
        """Let time pass: `tick("5m")`."""
        self._now += seconds(by)


class Memory:
    """What Redis holds, and what its scripts do: each method does what the script of its name does.

    tests/integration/cache/test_memory.py compares every reply with those of a real Redis.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[bytes, float]] = {}  # value, and until when in ms

    def now(self) -> int:
        return int(self._clock() * 1000)

    def get(self, key: str) -> bytes | None:
        value, until = self._kept.get(key, (None, FOREVER))
        if until <= self.now():
            del self._kept[key]
            return None
        return value

    def run(self, command: Command) -> Reply:
        """Run one of the commands that the cache sends."""
        match command:
            case ("EVALSHA", sha, 1, str(key), *arguments):
                return _SCRIPTS[str(sha)](self, key, *map(_plain, arguments))
            case ("UNLINK", str(key)):
                return self.unlink(key)
            case ("GETRANGE", str(key), int(first), int(last)):
                return (self.get(key) or b"")[first : last + 1]
            case ("PUBLISH", *_):
                return 0
        raise CacheError(f"a cache in memory knows no {command[0]!r}")

    def unlink(self, key: str) -> int:
        found = self.get(key) is not None
        self._kept.pop(key, None)
        return int(found)

    def _set(self, key: str, value: bytes, ms: float = FOREVER) -> None:
        self._kept[key] = (value, self.now() + ms)

    def _overwrite(self, key: str, at: int, text: bytes) -> None:
        value, until = self._kept[key]
        self._kept[key] = (value[:at] + text + value[at + len(text) :], until)

    def _prolong(self, key: str, ms: float) -> None:
        value, until = self._kept[key]
        self._kept[key] = (value, max(until, self.now() + ms))

    def _head(self, key: str) -> bytes:
        return (self.get(key) or b"")[:99]

    # --- the scripts ----------------------------------------------------------------------------

    def lease(
        self, key: str, token: bytes, ms: int, record: int, seen: bytes, mode: bytes
    ) -> list[int]:
        now, head = self.now(), self._head(key)
        ours = len(head) == 99 and head[:4] == b"!i1 "
        if head and not ours:
            return [3, now, 0]
        value = ours and head[4:5] != b"L"
        if ours and mode != b"write":
            lease = head[30:46]
            if lease == token:
                return [GRANTED, now, 0]
            if value and head[13:29] != seen:
                return [2, now, 0]
            left = int(head[47:60]) - now
            if left > 0 and lease[:1] != b"~":
                return [0, now, left]
        if value and mode != b"miss":
            self._overwrite(key, 30, b"%b %013d" % (token, now + ms))
            self._prolong(key, record)
        else:
            parts = (NO_TOKEN, token, now + ms, b"0" * 13, NO_VERSION, b"0" * 6)
            self._set(key, b"!i1 L-- 0000 %b %b %013d %b %b %b\n" % parts, record)
        return [GRANTED, now, 0]

    def put(self, key: str, token: bytes, entry: bytes, ms: int) -> int:
        head = self._head(key)
        if head[30:46] != token:
            return DONE if head[13:29] == token else REFUSED
        if head[75:91] > entry[75:91] != NO_VERSION:
            self._overwrite(key, 30, NO_TOKEN + b" " + b"0" * 13)
            return OLDER
        self._set(key, entry, ms)
        return DONE

    def finish(self, key: str, token: bytes, entry: bytes, ms: int, *_: bytes) -> int:
        value = self.get(key) or b""
        same = value[4:5] != b"V" or listed_names(value) == listed_names(entry)
        if value[30:46] == token and same:
            self._set(key, entry, ms)
            return 1
        if value[13:29] == token:
            return 1
        self.unlink(key)
        return 0

    def replace(self, key: str, version: bytes, entry: bytes, ms: int) -> int:
        value = self.get(key) or b""
        bare = value[:5] in (b"!i1 V", b"!i1 N") and value[99:100] == b"\n"
        if bare and value[75:91] != NO_VERSION:
            if value[75:91] >= version:
                return 2
            self._set(key, entry, ms)
            return 1
        self.unlink(key)
        return 0

    def release(self, key: str, token: bytes, pause: int) -> int:
        head = self._head(key)
        if head[30:46] != token:
            return 0
        alone = head[4:5] == b"L"
        if alone and pause == 0:
            return self.unlink(key)
        self._overwrite(key, 30, b"%b %013d" % (NO_TOKEN, self.now() + pause))
        if alone:
            self._kept[key] = (self._kept[key][0], self.now() + pause)
        return 1

    def expire(self, key: str) -> int:
        if self._head(key)[:5] not in (b"!i1 V", b"!i1 N"):
            return self.unlink(key)
        parts = (NO_TOKEN, b"0" * 13, self.now() - 1000)
        self._overwrite(key, 30, b"%b %b %013d" % parts)
        return 1

    def stamp(self, key: str, token: bytes, ms: int) -> bytes:
        found = self.get(key)
        if found is None:
            self._set(key, token, ms)
            return token
        self._prolong(key, ms)
        return found

    def version(self, key: str) -> bytes:
        found = self.get(key)
        if found is None:
            found = b"%d" % (1000 * self.now())
            self._set(key, found)
        return found

    def bump(self, key: str) -> bytes:
        old = int(self.get(key) or 0)
        self._set(key, b"%d" % max(old + 1, 1000 * self.now()))
        return self._kept[key][0]


def _plain(argument: str | bytes | int) -> bytes | int:
    return argument.encode() if isinstance(argument, str) else argument


_BY_SCRIPT: Final[dict[Script, Callable[..., Any]]] = {
    LEASE: Memory.lease,
    PUT: Memory.put,
    FINISH: Memory.finish,
    REPLACE: Memory.replace,
    RELEASE: Memory.release,
    EXPIRE: Memory.expire,
    STAMP: Memory.stamp,
    VERSION: Memory.version,
    BUMP: Memory.bump,
}
_SCRIPTS: Final = {script.sha: method for script, method in _BY_SCRIPT.items()}


class MemoryServer:
    """A `Server` for asyncio."""

    is_server = True

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return list(map(self._memory.get, keys))

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        return list(map(self._memory.run, commands))

    async def aclose(self) -> None:
        """Leave nothing open."""


class SyncMemoryServer:
    """A `SyncServer` for threads."""

    is_server = True

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._lock = threading.Lock()

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return list(map(self._memory.get, keys))

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        with self._lock:
            return list(map(self._memory.run, commands))

    def close(self) -> None:
        """Leave nothing open."""


class MemoryCache(Cache):
    """A `Cache` that needs no Redis. Its clock stands still: `cache.clock.tick("5m")`."""

    def __init__(self, **options: Any) -> None:
        """Make an empty cache; the options are those of `Cache`, without a client."""
        self.clock = Clock()
        super().__init__(MemoryServer(Memory(self.clock)), **options)
        self._here.clock = self._here.timer = self.clock


class SyncMemoryCache(SyncCache):
    """A `SyncCache` that needs no Redis."""

    def __init__(self, **options: Any) -> None:
        """Make an empty cache; the options are those of `SyncCache`, without a client."""
        self.clock = Clock()
        super().__init__(SyncMemoryServer(Memory(self.clock)), **options)
        self._here.clock = self._here.timer = self.clock


@contextmanager
def in_memory(cache: Cache | SyncCache) -> Iterator[Clock]:
    """Let a cache work on an empty memory within this context; the value is its clock."""
    clock = Clock()
    server = MemoryServer if isinstance(cache, Cache) else SyncMemoryServer
    here, times = cache._here, (cache._here.clock, cache._here.timer)
    with served_by(cache, server(Memory(clock))):
        here.clock = here.timer = clock
        try:
            yield clock
        finally:
            here.clock, here.timer = times
