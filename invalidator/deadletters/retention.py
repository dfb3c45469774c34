"""Keep the stream of dead letters within its bounds, with warnings and never silently.

All members of a deployment trim the same stream. Redis reports how many entries a trim removed, so
each member counts what it removed itself.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace
from redis.asyncio import Redis

from invalidator import layout
from invalidator.redisclient import Client, Command, Reply, converse, node
from invalidator.runtime import metrics
from invalidator.runtime.logs import Repeats
from invalidator.runtime.urls import parse_redis_url

log = structlog.get_logger("invalidator")

WARN_AT: Final = 0.8  # of a bound
WARN_EVERY: Final = 3600.0  # seconds
TELL_EVERY: Final = 60.0  # seconds between two log lines about removed entries
LOOK_EVERY: Final = 15.0  # seconds between two checks of the stream
LOOK_AFTER: Final = 0.1  # of the bound in bytes that was written since the last check
SHARE: Final = 0.1  # of a server's limit of memory
ADVICE: Final = "see `invalidator dead stats`, then use `dead replay` or `dead drop`"


class Bounds(Struct, frozen=True):
    """The bounds of the stream; 0 is no bound."""

    length: int = 0  # entries
    age: float = 0.0  # seconds since an entry was written
    size: int = 0  # bytes of the server's memory


UNBOUNDED: Final = Bounds()


class Retention:
    """Keeps a stream within its bounds."""

    def __init__(
        self,
        client: Client,
        bounds: Bounds,
        *,
        stream: str = layout.DEAD_LETTERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._bounds = bounds
        self._stream = stream
        self._clock = clock
        self._look_at = 0.0
        self._written = 0  # bytes since the last look
        self._warnings = Repeats(clock, WARN_EVERY)
        self._removals = Repeats(clock, TELL_EVERY)

    def fit(self, maxmemory: int) -> None:
        """Take at most a share of a server's memory: letters must not keep others out."""
        if maxmemory and self._bounds.size:
            self._bounds = replace(
                self._bounds, size=min(self._bounds.size, int(maxmemory * SHARE))
            )

    async def look(self, *, now: bool = False) -> None:
        """Check and trim the stream from time to time, or `now`. If access is denied, only warn.

        Raises RedisError, OSError or TimeoutError.
        """
        if not now and self._clock() < self._look_at:
            return
        self._look_at = self._clock() + LOOK_EVERY
        self._written = 0
        asked: list[Command] = [
            ("XLEN", self._stream),
            ("XRANGE", self._stream, "-", "+", "COUNT", 1),
            ("MEMORY", "USAGE", self._stream),
            ("TIME",),
        ]
        server: Redis = await node(self._client, self._stream.encode())
        length, first, size, time_there = await converse(server, asked)
        if self._denied(length) or self._denied(first):
            return
        oldest = int(first[0][0].partition(b"-")[0]) / 1000 if first else 0.0
        metrics.DEAD_LENGTH.set(length)
        metrics.DEAD_OLDEST.set(oldest)
        if self._bounds.age and first and not self._denied(time_there):
            there = int(time_there[0])  # our clock may be wrong by days; ids are of the server's
            share = max(0.0, there - oldest) / self._bounds.age
            from_ms = int((there - self._bounds.age) * 1000)
            await self._enforce("age", share, ("MINID", f"{from_ms}-0"), length)
        if self._bounds.size and length and not self._denied(size):
            share = (size or 0) / self._bounds.size
            fitting = int(length / max(share, 1.0) * WARN_AT)  # so that few trims are needed
            await self._enforce("bytes", share, ("MAXLEN", fitting), length)
        if self._bounds.length:
            share = length / self._bounds.length
            await self._enforce("length", share, ("MAXLEN", self._bounds.length), length)

    async def keep(self, length: Reply, written: int) -> None:
        """Trim after so many bytes were written; `length` is the number of entries now."""
        self._written += written
        if self._bounds.size and self._written > self._bounds.size * LOOK_AFTER:
            await self.look(now=True)
        if isinstance(length, int):
            metrics.DEAD_LENGTH.set(length)
            if self._bounds.length and length > self._bounds.length:
                await self.look(now=True)

    async def _enforce(
        self, bound: str, share: float, limit: tuple[str, str | int], entries: int
    ) -> None:
        metrics.DEAD_FILL.labels(bound).set(share)
        if share >= WARN_AT and self._warnings.admit(bound) is not None:
            log.warning(
                "dead-letters-near-bound",
                bound=bound,
                percent=round(share * 100),
                entries=entries,
                max_length=self._bounds.length,
                max_age=self._bounds.age,
                max_bytes=self._bounds.size,
                advice=f"the oldest will be removed; {ADVICE}",
            )
        if share <= 1:
            return
        (removed,) = await converse(self._client, [("XTRIM", self._stream, *limit)])
        if self._denied(removed) or not removed:  # not removed: another member was faster
            return
        metrics.DEAD_TRIMMED.labels(bound).inc(removed)
        suppressed = self._removals.admit(bound)
        if suppressed is not None:
            log.error(
                "dead-letters-removed",
                bound=bound,
                removed=removed,
                suppressed=suppressed,
                means="what they named may be stale and can no longer be found",
            )

    def _denied(self, reply: Reply) -> bool:
        """Warn from time to time if access is denied; the entries are then kept without bounds."""
        if isinstance(reply, Exception):
            if self._warnings.admit("refused") is not None:
                log.warning(
                    "dead-letters-unbounded",
                    reason=str(reply),
                    advice="grant +xlen, +xrange, +xtrim, +time and +memory|usage: "
                    "docs/redis-contract.md",
                )
            return True
        return False


async def warn_of_home(client: Client, server: str, *, is_cache: bool) -> int:
    """Warn if this Redis may lose them; return its limit of memory, 0 for none or unknown.

    Raises RedisError, OSError or TimeoutError.
    """
    primary: Redis = await node(client, layout.DEAD_LETTERS.encode())
    (memory,) = await converse(primary, [("INFO", "memory")])
    if isinstance(memory, Exception):
        log.info("dead-letters-unchecked", server=server, reason=str(memory))
        return 0
    if danger := danger_of(memory, is_cache=is_cache):
        log.warning(
            "dead-letters-endangered",
            server=server,
            reason=danger,
            advice="set INVALIDATOR_STATE_URL to a Redis that is not a cache and has "
            "maxmemory-policy noeviction, or set INVALIDATOR_DEAD_LETTERS__TOPIC",
        )
    return int(_fields(memory).get("maxmemory", "0"))


def danger_of(memory: bytes, *, is_cache: bool) -> str:
    """Return the danger that INFO memory shows; empty if there is none."""
    said = _fields(memory)
    if said.get("maxmemory", "0") == "0":
        return ""
    policy = said.get("maxmemory_policy", "")
    if policy.startswith("allkeys-"):
        return f"maxmemory-policy {policy} may evict all of them when memory is full"
    if is_cache:
        return (
            "it is a cache with a memory limit: when memory is full, no dead letter can be "
            "written, and events wait"
        )
    return ""


def _fields(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").split())
    return {name: value for name, _, value in lines}


def is_among(url: str, others: Iterable[str]) -> bool:
    """Return true if one of the others is the same server, judging by the addresses."""
    return any(_addresses(url) & _addresses(other) for other in others)


def _addresses(url: str) -> set[tuple[object, ...]]:
    """Return one address for each host, any of which stands for a cluster or its sentinels."""
    address = parse_redis_url(url)
    hosts = address.hosts or [("", 0)]
    return {(address.kind, address.path, address.service, *host) for host in hosts}
