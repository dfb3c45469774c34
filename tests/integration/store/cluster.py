"""A real cluster of primaries without replicas."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import redis
from redis.crc import key_slot

from tests.backends import until_sync
from tests.backends.redis_server import RedisServer
from tests.backends.server import free_port

SLOTS = 16384


def start() -> RedisServer:
    """One of them. The usual port of the bus may be a port that outgoing connections are given."""
    return RedisServer(
        config={
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-port": str(free_port()),
            "hz": "100",
        }
    )


class Primaries:
    """Three or so, each with its share of the slots."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.servers = servers
        self.admins = [redis.Redis(port=server.port) for server in self.servers]
        self.ids = [self.ask(each, "CLUSTER", "MYID") for each in self.admins]
        size = len(servers)
        self._edges = [SLOTS * number // size for number in range(size + 1)]
        for admin, (first, end) in zip(self.admins, pairwise(self._edges), strict=True):
            self.ask(admin, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            first_server = self.servers[0]
            bus = first_server.config["cluster-port"]
            self.ask(admin, "CLUSTER", "MEET", "127.0.0.1", first_server.port, str(bus))
        until_sync(self._formed, 20.0, "the cluster is formed")

    def ask(self, admin: "redis.Redis", *words: str | int | bytes) -> Any:
        untyped: Any = admin
        return untyped.execute_command(*words)

    def owner(self, key: bytes | str) -> int:
        """Which of them has the key's slot, to begin with."""
        slot = key_slot(key.encode() if isinstance(key, str) else key)
        return next(n for n, end in enumerate(self._edges[1:]) if slot < end)

    def put(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.admins[self.owner(key)].set(key, "cached")

    def keys(self) -> int:
        return sum(int(self.ask(admin, "DBSIZE")) for admin in self.admins)

    def open_slot(self, slot: int, source: int, target: int) -> None:
        self.ask(self.admins[target], "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        self.ask(self.admins[source], "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])

    def carry(self, key: str, source: int, target: int) -> None:
        port = self.servers[target].port
        self.ask(self.admins[source], "MIGRATE", "127.0.0.1", port, key, 0, 2000)

    def left_in(self, slot: int, node: int) -> int:
        count: int = self.ask(self.admins[node], "CLUSTER", "COUNTKEYSINSLOT", slot)
        return count

    def close_slot(self, slot: int, target: int) -> None:
        """The target first: whoever gives a slot away must find it taken."""
        for admin in [self.admins[target], *self.admins]:
            self.ask(admin, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])

    def empty(self) -> None:
        for admin in self.admins:
            admin.flushall()

    def close(self) -> None:
        for admin in self.admins:
            admin.close()

    def _formed(self) -> bool:
        return all(self._agrees(admin) for admin in self.admins)

    def _agrees(self, admin: "redis.Redis") -> bool:
        info: bytes = self.ask(admin, "CLUSTER", "INFO")
        known = b"cluster_known_nodes:%d\r" % len(self.servers)
        return b"cluster_state:ok" in info and known in info
