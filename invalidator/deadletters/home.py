"""Whether the Redis that keeps the dead letters will keep them: asked once, at the start."""

from collections.abc import Iterable

import structlog
from redis.asyncio import Redis

from invalidator import layout
from invalidator.redisclient import Client, converse, node
from invalidator.runtime.urls import parse_redis_url

log = structlog.get_logger("invalidator")


async def warn(client: Client, server: str, *, is_cache: bool) -> None:
    """Say what may become of them there. Raises RedisError, OSError or TimeoutError."""
    primary: Redis = await node(client, layout.DEAD_LETTERS.encode())
    (memory,) = await converse(primary, [("INFO", "memory")])
    if isinstance(memory, Exception):
        log.info("dead-letters-unchecked", server=server, reason=str(memory))
    elif danger := danger_of(memory, is_cache=is_cache):
        log.warning(
            "dead-letters-endangered",
            server=server,
            reason=danger,
            advice="set INVALIDATOR_STATE_URL to a Redis with maxmemory-policy noeviction that is "
            "no cache, or INVALIDATOR_DEAD_LETTERS__TOPIC",
        )


def danger_of(memory: bytes, *, is_cache: bool) -> str:
    """What its memory section says; empty where all is well."""
    lines = (line.partition(":") for line in memory.decode(errors="replace").split())
    said = {name: value for name, _, value in lines}
    if said.get("maxmemory", "0") == "0":
        return ""
    policy = said.get("maxmemory_policy", "")
    if policy.startswith("allkeys-"):
        return f"with maxmemory-policy {policy} it may evict all of them when its memory is full"
    if is_cache:
        return (
            "it is a cache with a memory limit: when that is full, no dead letter can be written, "
            "and events wait"
        )
    return ""


def is_among(url: str, others: Iterable[str]) -> bool:
    """Whether it is the same server as one of these, as far as the addresses tell."""
    return any(_place(url) & _place(other) for other in others)


def _place(url: str) -> set[tuple[object, ...]]:
    """Any host of a cluster, or of sentinels with their service, stands for all."""
    address = parse_redis_url(url)
    hosts = address.hosts or [("", 0)]
    return {(address.kind, address.path, address.service, *host) for host in hosts}
