"""A real cluster: primaries with their share of the slots, and replicas of them."""

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, Self

import redis
from redis.crc import key_slot

from tests.backends.certificates import Certificates
from tests.backends.redis_server import RedisServer
from tests.backends.redis_tls import server_config
from tests.backends.server import free_port
from tests.backends.waiting import until_sync

SLOTS = 16384
FORMING_MS = "1000"


class RedisCluster:
    """`with RedisCluster(3, 3) as cluster:` starts, forms and ends it."""

    def __init__(
        self,
        primaries: int = 3,
        replicas: int = 3,
        *,
        node_timeout_ms: int = 15_000,
        config: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        """Replica number n follows primary number n. A primary may be silent for the timeout."""
        self._certificates = certificates
        self._timeout_ms = node_timeout_ms
        self._config = dict(config or {})
        self._primaries = primaries
        self.servers = [self._server() for _ in range(primaries + replicas)]
        self.admins: list[redis.Redis] = []
        self.ids: list[bytes] = []
        self._edges = [SLOTS * number // primaries for number in range(primaries + 1)]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Return a URL that names two nodes: the others have to be found."""
        return self.url_as("")

    def url_as(self, login: str) -> str:
        hosts = (f"127.0.0.1:{_port(server)}" for server in random.sample(self.servers, 2))
        scheme = "rediss+cluster" if self._certificates else "redis+cluster"
        return f"{scheme}://{login}{login and '@'}{','.join(hosts)}"

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                self._stack.enter_context(server)
                self.admins.append(self._stack.enter_context(redis.Redis(port=server.port)))
            self._form()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, number: int, *words: str | int | bytes) -> Any:
        """Return one node's answer."""
        untyped: Any = self.admins[number]
        return untyped.execute_command(*words)

    def owner(self, key: bytes | str) -> int:
        """Return the number of the primary that had the key's slot at first."""
        slot = key_slot(key.encode() if isinstance(key, str) else key)
        return next(n for n, end in enumerate(self._edges[1:]) if slot < end)

    def put(self, keys: Sequence[str], value: str = "cached") -> None:
        """Set the keys on the primaries that had their slots at first."""
        pipes = [admin.pipeline(transaction=False) for admin in self.admins[: self._primaries]]
        for key in keys:
            pipes[self.owner(key)].set(key, value)
        for pipe in pipes:
            pipe.execute()

    def keys(self) -> int:
        """Return the number of keys on all primaries."""
        return sum(int(self.ask(number, "DBSIZE")) for number in range(self._primaries))

    def empty(self) -> None:
        for admin in self.admins[: self._primaries]:
            admin.flushall()

    # --- moving slots ---------------------------------------------------------------------------

    def open_slot(self, slot: int, source: int, target: int) -> None:
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])

    def carry(self, key: str | bytes, source: int, target: int) -> None:
        port = self.servers[target].port
        self.ask(source, "MIGRATE", "127.0.0.1", port, key, 0, 2000)

    def left_in(self, slot: int, node: int) -> int:
        count: int = self.ask(node, "CLUSTER", "COUNTKEYSINSLOT", slot)
        return count

    def close_slot(self, slot: int, target: int) -> None:
        """Assign the slot, on the target first: a node gives away only what another one owns."""
        for number in [target, *range(self._primaries)]:
            self.ask(number, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])
        for number in range(self._primaries):  # who was to import it, and did not, still would
            self.ask(number, "CLUSTER", "SETSLOT", slot, "STABLE")

    def move_slot(self, slot: int, source: int, target: int) -> None:
        """Move the slot key by key, as redis-cli does."""
        self.open_slot(slot, source, target)
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            for key in keys:
                self.carry(key, source, target)
        self.close_slot(slot, target)

    def await_agreement(self) -> None:
        """Wait until all nodes report the same owners: news of a moved slot travels by gossip."""
        everyone = range(len(self.servers))
        until_sync(lambda: len(set(map(self._owners, everyone))) == 1, what="the nodes agree")

    def _owners(self, number: int) -> frozenset[tuple[int, int, int]]:
        shards = self.ask(number, "CLUSTER", "SLOTS")
        return frozenset((first, last, primary[1]) for first, last, primary, *_ in shards)

    # --- forming --------------------------------------------------------------------------------

    def _server(self) -> RedisServer:
        """Return a node. The default port of its bus may be in use by an outgoing connection."""
        return RedisServer(
            config={
                "cluster-enabled": "yes",
                "cluster-config-file": "nodes.conf",
                "cluster-port": str(free_port()),
                "repl-diskless-sync-delay": "0",
                "repl-ping-replica-period": "1",  # a replica that heard nothing yet is not listed
                "hz": "100",
                # News travel at half of it. Raised again once the cluster is formed.
                "cluster-node-timeout": FORMING_MS,
                **self._config,
                **server_config(self._certificates, cluster=True),
            }
        )

    def _form(self) -> None:
        everyone = range(len(self.servers))
        self.ids = [self.ask(number, "CLUSTER", "MYID") for number in everyone]
        for number, (first, end) in enumerate(pairwise(self._edges)):
            self.ask(number, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for number in everyone:
            # two nodes that are born equal have to be told who is right
            self.ask(number, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first_server = self.servers[0]
        bus = str(first_server.config["cluster-port"])
        for number in everyone:
            self.ask(number, "CLUSTER", "MEET", "127.0.0.1", _port(first_server), bus)
        until_sync(lambda: all(map(self._agrees, everyone)), what="the cluster is formed")
        for number in everyone[self._primaries :]:
            self.ask(number, "CLUSTER", "REPLICATE", self.ids[number - self._primaries])
        until_sync(self._replicated, what="all replicas follow, and all know it")
        for number in everyone:
            self.ask(number, "CONFIG", "SET", "cluster-node-timeout", self._timeout_ms)
            # a failover while it formed would have put them elsewhere
            assert self._is_primary(number) == (number < self._primaries)

    def _is_primary(self, number: int) -> bool:
        return bool(self.admins[number].info("replication")["role"] == "master")

    def _agrees(self, number: int) -> bool:
        info: bytes = self.ask(number, "CLUSTER", "INFO")
        known = b"cluster_known_nodes:%d\r" % len(self.servers)
        return b"cluster_state:ok" in info and known in info

    def _replicated(self) -> bool:
        replicas = range(self._primaries, len(self.servers))
        following = all(
            self.admins[n].info("replication")["master_link_status"] == "up" for n in replicas
        )
        told = all(
            sum(len(shard) - 3 for shard in self.ask(n, "CLUSTER", "SLOTS")) == len(replicas)
            for n in range(len(self.servers))
        )
        return following and told


def _port(server: RedisServer) -> int:
    return int(str(server.config.get("tls-port", server.port)))
