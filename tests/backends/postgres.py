"""A private PostgreSQL, Debian's, with logical decoding."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.backends.server import Server

SUPERUSER = "postgres"
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Postgres(Server):
    """A server that trusts every local user, with the database `postgres`."""

    def command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "wal_level": "logical",
            "fsync": "off",
        }
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*_as_user(), str(_binary("postgres")), "-D", str(self._data), *flags]

    def prepare(self) -> None:
        if self._data.exists():
            return
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.directory, SUPERUSER, SUPERUSER)
        initialise = [str(_binary("initdb")), "-D", str(self._data), "-U", SUPERUSER]
        subprocess.run(
            [*_as_user(), *initialise, "--auth=trust", "--encoding=UTF8", "--locale=C"],
            check=True,
            capture_output=True,
        )

    def is_ready(self) -> bool:
        ask = [str(_binary("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ask, check=False).returncode == 0

    @property
    def version(self) -> str:
        return self.sql("SHOW server_version").split()[0]

    def sql(self, text: str) -> str:
        """Run statements, each in a transaction of its own; return what they print."""
        words = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER]
        found = subprocess.run(
            [*words, "-h", "127.0.0.1", "-p", str(self.port), "postgres"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    @property
    def _data(self) -> Path:
        return self.directory / "data"


def _as_user() -> list[str]:
    """Return a prefix that runs a command as PostgreSQL's user where we are root."""
    if os.getuid():
        return []
    return ["setpriv", f"--reuid={SUPERUSER}", f"--regid={SUPERUSER}", "--clear-groups"]


def _binary(name: str) -> Path:
    return BINARIES[-1] / name
