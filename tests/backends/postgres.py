"""A private PostgreSQL."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.backends.server import Server

DEBIAN = Path("/usr/lib/postgresql")  # each version has a folder there, none of them on PATH
ACCOUNT = "postgres"  # PostgreSQL never runs as root; Debian's package makes this account


def program(name: str) -> str | None:
    """Return the path of one of its programs, of the newest version."""
    installed = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(installed[-1]) if installed else shutil.which(name)


class PostgresServer(Server):
    """Everybody on this machine is its superuser; a commit is safe from SIGKILL."""

    @staticmethod
    def available() -> bool:
        return program("postgres") is not None and program("initdb") is not None

    @property
    def url(self) -> str:
        return f"postgresql://{ACCOUNT}@{self.address}/postgres"

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "wal_level": "logical",  # Debezium reads it
            "fsync": "off",  # this machine's own crash is not tested
            "max_connections": 100,
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [*_as_account(), program("postgres") or "postgres", "-D", str(self._data), *settings]

    def prepare(self) -> None:
        if self._data.exists():
            return
        if os.getuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        words = [program("initdb") or "initdb", "-D", str(self._data), "-U", ACCOUNT]
        subprocess.run(
            [*_as_account(), *words, "--auth=trust", "--no-sync", "--encoding=UTF8"],
            check=True,
            capture_output=True,
            cwd=self.directory,
        )

    def kill(self) -> None:
        """End it without a checkpoint; SIGKILL would leave shared memory behind."""
        self._end(signal.SIGQUIT, 60.0)

    def is_ready(self) -> bool:
        import psycopg

        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
                pass
            psycopg.connect(self.url, connect_timeout=2).close()
        except (OSError, psycopg.OperationalError):
            return False
        return True

    @property
    def version(self) -> str:
        return self.sql("SHOW server_version").split()[0]

    def sql(self, text: str) -> str:
        """Run statements, each in a transaction of its own; return what they print."""
        words = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url]
        found = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    def empty(self) -> None:
        """Remove all tables."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    @property
    def _data(self) -> Path:
        return self.directory / "data"


def _as_account() -> list[str]:
    if os.getuid() != 0:
        return []
    account = pwd.getpwnam(ACCOUNT)
    return [
        "setpriv",
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        "--clear-groups",
        "--pdeathsig=KILL",  # another user forgets what the parent asked for
    ]
