"""A primary, its replica, and three sentinels that watch them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import redis

from tests.backends.certificates import Certificates
from tests.backends.redis_server import RedisServer
from tests.backends.redis_tls import server_config
from tests.backends.waiting import until_sync

SERVICE = "main"
DOWN_AFTER_MS = 500


class Sentinel(RedisServer):
    """It stores what it learns in its own configuration file."""

    def __init__(
        self, watched: RedisServer, say: Sequence[str] = (), config: Mapping[str, Any] | None = None
    ) -> None:
        """`say` holds lines that begin with `sentinel`, without that word."""
        options = {
            "sentinel": [
                f"monitor {SERVICE} 127.0.0.1 {_port(watched)} 2",
                f"down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
                f"failover-timeout {SERVICE} 3000",
                *say,
            ]
        }
        super().__init__(config=options | dict(config or {}))

    def command(self) -> list[str]:
        return [*super().command(), "--sentinel"]

    def _lines(self) -> list[str]:
        known = ("port", "bind", "dir", "sentinel", "requirepass", "user", "tls")
        return [line for line in super()._lines() if line.startswith(known)]


class Watched:
    """Five servers. `with Watched() as it:` starts and ends them."""

    def __init__(
        self,
        config: Mapping[str, str] | None = None,
        *,
        say: Sequence[str] = (),
        sentinel_config: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        """`config` is that of the primary and its replica."""
        config = {"repl-diskless-sync-delay": "0", **dict(config or {})}
        self._scheme = "rediss+sentinel" if certificates else "redis+sentinel"
        self.primary = RedisServer(config=config | server_config(certificates))
        of = {"replicaof": f"127.0.0.1 {_port(self.primary)}"}
        self.replica = RedisServer(config=config | of | server_config(certificates))
        self.sentinels = [
            Sentinel(self.primary, say, dict(sentinel_config or {}) | server_config(certificates))
            for _ in range(3)
        ]
        self._password = config.get("requirepass")
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return self.url_as("")

    def url_as(self, login: str) -> str:
        hosts = ",".join(f"127.0.0.1:{_port(each)}" for each in self.sentinels)
        return f"{self._scheme}://{login}{login and '@'}{hosts}/{SERVICE}/0"

    def __enter__(self) -> Self:
        try:
            for server in (self.primary, self.replica):
                self._stack.enter_context(server)
            until_sync(self._in_sync, what="the replica follows")
            for sentinel in self.sentinels:
                self._stack.enter_context(sentinel)
            until_sync(self._agreed, what="the sentinels know each other and the replica")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _in_sync(self) -> bool:
        with redis.Redis(port=self.replica.port, password=self._password) as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    def _agreed(self) -> bool:
        return all(_knows_all(each, each.config.get("requirepass")) for each in self.sentinels)


def _port(server: RedisServer) -> int:
    return int(str(server.config.get("tls-port", server.port)))


def _knows_all(sentinel: Sentinel, password: Any) -> bool:
    with redis.Redis(port=sentinel.port, password=password, decode_responses=True) as client:
        untyped: Any = client
        state = untyped.execute_command("SENTINEL", "MASTER", SERVICE)
    others, replicas = int(state["num-other-sentinels"]), int(state["num-slaves"])
    return (others, replicas) == (2, 1)
