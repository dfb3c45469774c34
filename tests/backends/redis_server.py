"""A private redis-server."""

import shutil
import socket
from collections.abc import Mapping, Sequence

from tests.backends.server import Server

# What these answer to PING is an answer all the same: the server is up.
UP = (b"+PONG", b"-NOAUTH", b"-NOPERM", b"-MASTERDOWN")


class RedisServer(Server):
    """`config` holds lines of redis.conf; a sequence gives one line for each of its values."""

    def __init__(
        self, port: int | None = None, config: Mapping[str, str | Sequence[str]] | None = None
    ) -> None:
        super().__init__(port)
        self.config = dict(config or {})

    @staticmethod
    def available() -> bool:
        return shutil.which("redis-server") is not None

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def command(self) -> list[str]:
        return [shutil.which("redis-server") or "redis-server", str(self.directory / "redis.conf")]

    def prepare(self) -> None:
        (self.directory / "redis.conf").write_text("\n".join(self._lines()) + "\n")

    def is_ready(self) -> bool:
        return self.ping().startswith(UP)

    def ping(self) -> bytes:
        """Return the raw answer, or nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(200)
        except OSError:
            return b""

    def _lines(self) -> list[str]:
        config: dict[str, str | Sequence[str]] = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "save": '""',
            "appendonly": "no",
            **self.config,
        }
        return [
            f"{name} {value}"
            for name, values in config.items()
            for value in ([values] if isinstance(values, str) else values)
        ]
