"""A redis-server of one's own: started on a free port, ended by its process id."""

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig


@dataclass(frozen=True, slots=True)
class LocalRedis:
    port: int
    process: subprocess.Popen[bytes]

    def client(self, **options: Any) -> Redis:
        """A client as connect.py makes it: raw bytes, no retries of its own, short timeouts."""
        settings: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "protocol": 2,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        return Redis(port=self.port, **(settings | options))

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def local_redis(*options: str, directory: str | None = None) -> Iterator[LocalRedis]:
    with tempfile.TemporaryDirectory() as own:
        port = free_port()
        line = ["redis-server", "--port", str(port), "--dir", directory or own, "--save", ""]
        process = subprocess.Popen([*line, *options], stdout=subprocess.DEVNULL)
        server = LocalRedis(port, process)
        try:
            _wait_until_it_answers(port)
            yield server
        finally:
            server.thaw()
            server.kill()


def _wait_until_it_answers(port: int) -> None:
    deadline = time.monotonic() + 10
    with redis.Redis(port=port, socket_timeout=1) as client:
        while True:
            try:
                client.execute_command("ECHO", "up")
                return
            except redis.exceptions.BusyLoadingError:
                return
            except redis.exceptions.RedisError:
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.01)
