"""Figures that a server reports about itself."""

from collections.abc import Sequence

from msgspec import Struct

from invalidator.redisclient.server import Server

ASKED = [("INFO", "memory"), ("INFO", "stats"), ("DBSIZE",)]


class Facts(Struct, frozen=True):
    """Figures of all servers of a cluster; except for the keys, of all their databases."""

    keys: int
    used: int  # bytes
    peak: int
    limit: int  # 0: none
    policies: tuple[str, ...]  # maxmemory-policy
    hits: int
    misses: int
    evicted: int
    expired: int

    @property
    def hit_rate(self) -> float | None:
        """Return the share of lookups that hit since the servers started."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


async def facts(servers: Sequence[Server]) -> Facts:
    """Ask the servers. Raises Unavailable."""
    found, keys = [], 0
    for server in servers:
        memory, stats, size = await server.insist(ASKED)
        found.append(_fields(memory) | _fields(stats))
        keys += size

    def total(name: str) -> int:
        return sum(int(info.get(name, 0)) for info in found)

    return Facts(
        keys,
        total("used_memory"),
        total("used_memory_peak"),
        total("maxmemory"),
        tuple(sorted({info.get("maxmemory_policy", "unknown") for info in found})),
        total("keyspace_hits"),
        total("keyspace_misses"),
        total("evicted_keys"),
        total("expired_keys"),
    )


def _fields(info: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in info.decode(errors="replace").splitlines()]
    return {name: value for name, colon, value in lines if colon}
