"""A server process that a test can start, stop, kill, freeze and start again."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Self

from tests.backends.waiting import until_sync

LOG_LINES = 40
# Above these, where outgoing connections get their ports, a client that knocks on the closed port
# of a killed server can connect to itself and keep the server from coming back.
PORTS = range(15_000, 32_000)
SHARE = 2_000  # each process of a test run that has several picks from ports of its own


def free_port() -> int:
    """Return a free loopback port, none of the last ones: those may not be bound yet."""
    for port in islice(_mine(), SHARE):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port among {PORTS}")


@cache
def _mine() -> Iterator[int]:
    """Yield the ports of this process in an order of its own, again and again."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = int(worker) * SHARE % len(PORTS)
    share = PORTS[first : first + SHARE]
    return cycle(random.sample(share, len(share)))


class Server:
    """One process with its own port, data folder and log. Subclasses say how to run it."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"invalidator-{type(self).__name__}-"))
        self.log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def prepare(self) -> None:
        """Do what must be done before each start."""

    def is_ready(self) -> bool:
        raise NotImplementedError

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def running(self) -> bool:
        return self._process is not None

    def launch(self) -> Self:
        """Start the process without waiting for it to answer."""
        if self._process is not None:
            raise RuntimeError(f"{self.address} runs already")
        self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*dies_with_us(), *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends us in order
            )
        return self

    def start(self, timeout: float = 60.0) -> Self:
        """Start, and wait until it answers."""
        self.launch()
        try:
            until_sync(self._ready_or_ended, timeout, f"{self.address} answers")
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, timeout: float = 60.0) -> None:
        """End it in order (SIGTERM)."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        self._end(signal.SIGKILL, 60.0)

    def restart(self) -> Self:
        """Stop in order and start again on the same port with the same data."""
        self.stop()
        return self.start()

    def freeze(self) -> None:
        """Stop the process without closing its connections (SIGSTOP)."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever its state, and remove its data."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def log_tail(self) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.address} does not run")
        return self._process

    def _ready_or_ended(self) -> bool:
        code = self._running().poll()
        if code is not None:
            raise RuntimeError(f"{self.command()[0]} ended with {code}:\n{self.log_tail()}")
        return self.is_ready()

    def _end(self, sign: signal.Signals, timeout: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(sign)
        process.send_signal(signal.SIGCONT)  # a frozen one must wake up to hear a SIGTERM
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def dies_with_us() -> list[str]:
    """Return a prefix by which the kernel ends the server even if pytest is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
