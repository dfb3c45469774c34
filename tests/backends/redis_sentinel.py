"""A primary, its replica, and three sentinels that watch them."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import redis

from tests.backends.redis_server import RedisServer
from tests.backends.waiting import until_sync

SERVICE = "main"
DOWN_AFTER_MS = 500


class Sentinel(RedisServer):
    """It keeps what it learns in its own configuration file."""

    def __init__(self, watched: RedisServer, config: Mapping[str, Any] | None = None) -> None:
        options = {
            "sentinel": [
                f"monitor {SERVICE} 127.0.0.1 {watched.port} 2",
                f"down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
                f"failover-timeout {SERVICE} 3000",
                f"parallel-syncs {SERVICE} 1",
            ]
        }
        super().__init__(config=options | dict(config or {}))

    def command(self) -> list[str]:
        return [*super().command(), "--sentinel"]

    def _lines(self) -> list[str]:
        known = ("port", "bind", "dir", "sentinel", "requirepass", "user", "tls")
        return [line for line in super()._lines() if line.startswith(known)]


class Watched:
    """The five of them. `with Watched() as it:` starts and ends them."""

    def __init__(self, config: Mapping[str, str] | None = None) -> None:
        """`config` is that of the primary and its replica."""
        config = dict(config or {})
        self.primary = RedisServer(config={"repl-diskless-sync-delay": "0", **config})
        of = {"replicaof": f"127.0.0.1 {self.primary.port}"}
        self.replica = RedisServer(config={**self.primary.config, **of})
        self.sentinels = [Sentinel(self.primary) for _ in range(3)]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(each.address for each in self.sentinels)}/{SERVICE}/0"

    def __enter__(self) -> Self:
        try:
            for server in (self.primary, self.replica):
                self._stack.enter_context(server)
            until_sync(self._in_sync, 20.0, "the replica follows")
            for sentinel in self.sentinels:
                self._stack.enter_context(sentinel)
            until_sync(self._agreed, 20.0, "the sentinels know each other and the replica")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _in_sync(self) -> bool:
        with redis.Redis(port=self.replica.port) as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    def _agreed(self) -> bool:
        return all(map(_knows_all, self.sentinels))


def _knows_all(sentinel: Sentinel) -> bool:
    with redis.Redis(port=sentinel.port, decode_responses=True) as client:
        untyped: Any = client
        state = untyped.execute_command("SENTINEL", "MASTER", SERVICE)
    others, replicas = int(state["num-other-sentinels"]), int(state["num-slaves"])
    return (others, replicas) == (2, 1)
