"""The Redis that holds the cache: all names are stored in their old state, and read later."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_sentinel import SERVICE, Watched
from tests.backends.redis_server import RedisServer
from tests.faults.ledger import GROUP, RANKING, VERSION, Ledger

DEAD = "invalidator:dead"
OLD_VERSION = "1"


class Cache(Protocol):
    """A cache on any topology."""

    url: str

    def prime(self, ledger: Ledger) -> None:
        """Store every key of the ledger, and every tag with its members."""

    def there(self) -> set[bytes]:
        """Return the names of all keys, without versions that have risen.

        Raises redis.RedisError while the server is unavailable.
        """

    def dead(self) -> list[Mapping[bytes, bytes]]:
        """Return all dead letters."""


class OneServer:
    """A single Redis. `url` may lead to it through a proxy."""

    def __init__(self, server: RedisServer, url: str = "") -> None:
        self.server = server
        self.url = url or server.url

    def port(self) -> int:
        return self.server.port

    def prime(self, ledger: Ledger) -> None:
        with at(self.port()) as client:
            _prime(ledger, lambda key: client)

    def there(self) -> set[bytes]:
        with at(self.port()) as client:
            return _names(client)

    def dead(self) -> list[Mapping[bytes, bytes]]:
        with at(self.port()) as client:
            return dead_letters(client)


class SentinelCache(OneServer):
    """The server that is the primary now."""

    def __init__(self, watched: Watched, url: str = "") -> None:
        self.watched = watched
        self.url = url or watched.url

    def port(self) -> int:
        for sentinel in reversed(self.watched.sentinels):  # rows freeze the first
            try:
                with at(sentinel.port) as client:
                    found: Any = client.execute_command(  # type: ignore[no-untyped-call]
                        "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE
                    )
            except redis.RedisError:
                continue
            return int(found[1])
        raise redis.ConnectionError("no sentinel answers")


class ClusterCache:
    """All primaries that a cluster has now."""

    def __init__(self, cluster: RedisCluster) -> None:
        self.cluster = cluster
        self.url = cluster.url

    def prime(self, ledger: Ledger) -> None:
        admins, owner = self.cluster.admins, self.cluster.owner
        _prime(ledger, lambda key: admins[owner(key)])

    def there(self) -> set[bytes]:
        names: set[bytes] = set()
        for port in self._primaries():
            with at(port) as client:
                names |= _names(client)
        return names

    def dead(self) -> list[Mapping[bytes, bytes]]:
        for port in self._primaries():
            with at(port) as client:
                if client.keys(DEAD):
                    return dead_letters(client)
        return []

    def _primaries(self) -> Iterator[int]:
        """Yield the ports of nodes that answer and believe to be primaries."""
        for server in self.cluster.servers:
            try:
                with at(server.port, timeout=0.5) as client:
                    role = client.info("replication")["role"]
            except redis.RedisError:
                continue
            if role == "master":
                yield server.port


@contextmanager
def at(port: int, timeout: float = 5.0) -> Iterator[redis.Redis]:
    """Connect without the library's ten tries of five seconds each."""
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=port, protocol=2, socket_timeout=timeout, retry=once) as client:
        yield client


def dead_letters(client: redis.Redis) -> list[Mapping[bytes, bytes]]:
    entries: Any = client.xrange(DEAD)
    return [fields for _, fields in entries]


def _names(client: redis.Redis) -> set[bytes]:
    names: set[bytes] = set(client.scan_iter(count=10_000))
    versions = [name for name in names if name.startswith(VERSION.encode())]
    with client.pipeline(transaction=False) as pipe:
        for name in versions:
            pipe.get(name)
        values: Any = pipe.execute(raise_on_error=False)  # a slot may be on the move
    return names - {n for n, value in zip(versions, values, strict=True) if _risen(value)}


def _risen(value: object) -> bool:
    return isinstance(value, bytes) and int(value) > int(OLD_VERSION)


def _prime(ledger: Ledger, home: Callable[[str], redis.Redis]) -> None:
    pipes: dict[int, Any] = {}

    def pipe(key: str) -> Any:
        client = home(key)
        return pipes.setdefault(id(client), client.pipeline(transaction=False))

    for key in ledger.keys:
        pipe(key).set(key, OLD_VERSION if key.startswith(VERSION) else "stale")
    for tag, members in ledger.tags(GROUP).items():
        pipe(tag).sadd(tag, *members)
    for tag, members in ledger.tags(RANKING).items():
        pipe(tag).zadd(tag, dict.fromkeys(members, -1))
    for each in pipes.values():
        each.execute()
