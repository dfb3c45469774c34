"""Warn at the start if the Redis that keeps the dead letters may lose them."""

from collections.abc import Iterable

import structlog
from redis.asyncio import Redis

from invalidator import layout
from invalidator.redisclient import Client, converse, node
from invalidator.runtime.urls import parse_redis_url

log = structlog.get_logger("invalidator")


async def warn(client: Client, server: str, *, is_cache: bool) -> None:
    """Log a warning if needed. Raises RedisError, OSError or TimeoutError."""
    primary: Redis = await node(client, layout.DEAD_LETTERS.encode())
    (memory,) = await converse(primary, [("INFO", "memory")])
    if isinstance(memory, Exception):
        log.info("dead-letters-unchecked", server=server, reason=str(memory))
    elif danger := danger_of(memory, is_cache=is_cache):
        log.warning(
            "dead-letters-endangered",
            server=server,
            reason=danger,
            advice="set INVALIDATOR_STATE_URL to a Redis that is not a cache and has "
            "maxmemory-policy noeviction, or set INVALIDATOR_DEAD_LETTERS__TOPIC",
        )


def danger_of(memory: bytes, *, is_cache: bool) -> str:
    """Return the danger that INFO memory shows; empty if there is none."""
    lines = (line.partition(":") for line in memory.decode(errors="replace").split())
    said = {name: value for name, _, value in lines}
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


def is_among(url: str, others: Iterable[str]) -> bool:
    """Return true if one of the others is the same server, judging by the addresses."""
    return any(_addresses(url) & _addresses(other) for other in others)


def _addresses(url: str) -> set[tuple[object, ...]]:
    """Return one address for each host, any of which stands for a cluster or its sentinels."""
    address = parse_redis_url(url)
    hosts = address.hosts or [("", 0)]
    return {(address.kind, address.path, address.service, *host) for host in hosts}
