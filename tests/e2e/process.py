"""The installed daemon as a process, as its users run it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.backends import until_sync
from tests.backends.waiting import LIMIT

PROGRAM = Path(sys.executable).with_name("invalidator")


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the machine's own settings of the daemon."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("INVALIDATOR_")}
    return kept | {f"INVALIDATOR_{name}": value for name, value in settings.items()}


def run_program(*words: str, **settings: str) -> tuple[int, str]:
    """Return the exit code and the output."""
    done = subprocess.run(
        [str(PROGRAM), *words],
        env=clean_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stdout


class DaemonProcess:
    """`invalidator run`, and its log."""

    def __init__(
        self, settings: Mapping[str, str], *arguments: str, command: Sequence[str] = ()
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [*(command or [str(PROGRAM), "run"]), *arguments],
            env=clean_environment({"ADMIN__PORT": "0"} | dict(settings)),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._log,
        )

    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 24, 0).decode()

    def out(self) -> str:
        return os.pread(self._out.fileno(), 1 << 20, 0).decode()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the complete JSON lines of the log with that name."""
        lines = self.log().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.startswith("{") and line[-1] == "\n"]
        return [entry for entry in found if name in ("", entry["event"])]

    def admin_url(self) -> str:
        return str(until_sync(lambda: self.events("started"))[0]["admin"])

    def admin(self, path: str) -> tuple[int, str]:
        """Return status and body; 0 while it does not listen."""
        started = self.events("started")
        if not started:
            assert self.process.poll() is None, self.log()
            return 0, ""
        try:
            with urllib.request.urlopen(started[0]["admin"] + path, timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels; 0 while it does not listen."""
        total = 0.0
        for line in self.admin("/metrics")[1].splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and all(f'{k}="{v}"' in (found[1] or "") for k, v in labels.items()):
                total += float(found[2])
        return total

    def settled(self) -> float:
        """Return how many events are settled."""
        return self.metric("invalidator_batch_events_sum")

    def await_ready(self, timeout: float = LIMIT) -> Self:
        until_sync(lambda: self.admin("/readyz")[0] == 200, timeout, "the daemon is ready")
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = LIMIT) -> int:
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()
        self._out.close()
