"""One daemon of a row: a process, its gauges, its vital signs."""

import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.backends import until_sync
from tests.backends.server import dies_with_us
from tests.e2e.process import DaemonProcess
from tests.faults.gauges import Gauges

LAUNCHER = ["-m", "tests.faults.inside"]
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Vitals:
    tasks: int
    descriptors: int  # but for connections to Redis that are kept to be used again
    memory: int  # bytes, resident


class Member:
    """`name` is its own among the consumers of a stream."""

    def __init__(self, name: str, settings: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.gauges = Gauges(folder / f"gauges-{name}")
        command = [
            *dies_with_us(),
            sys.executable,
            *LAUNCHER,
            str(folder / f"gauges-{name}"),
            "run",
        ]
        own = {"STREAMS__CONSUMER": name, "LOG__LEVEL": "info"}
        self.daemon = DaemonProcess(own | dict(settings), command=command)
        self.before: Vitals | None = None  # what it took when it was ready and idle

    @property
    def alive(self) -> bool:
        return self.daemon.process.poll() is None

    def vitals(self) -> Vitals:
        process = Path(f"/proc/{self.daemon.process.pid}")
        return Vitals(
            int(self.gauges.get("tasks")),
            len([*(process / "fd").iterdir()]) - int(self.gauges.get("pooled")),
            int((process / "statm").read_text().split()[1]) * PAGE,
        )

    def ready(self) -> bool:
        return self.daemon.admin("/readyz")[0] == 200

    def reads(self, source: str) -> bool:
        """Return whether it reads from kafka, stream or pubsub now."""
        return self.daemon.metric("invalidator_ready", part=source) == 1

    def gaps(self, cause: str) -> float:
        return self.daemon.metric("invalidator_gaps_total", cause=cause)

    def rules_in_force(self) -> bool:
        """Return whether its rules are those on disk."""
        return self.daemon.metric("invalidator_rules_reload_ok") == 1

    def await_ready(self, timeout: float = 60) -> "Member":
        self.daemon.await_ready(timeout)
        return self

    def kill(self) -> None:
        self.daemon.signal(signal.SIGKILL)
        self.daemon.wait()

    def freeze(self) -> None:
        self.daemon.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.daemon.signal(signal.SIGCONT)

    def reload(self) -> None:
        self.daemon.signal(signal.SIGHUP)

    def leaked(self, within: float = 60.0) -> tuple[int, int]:
        """Return tasks and descriptors beyond those before, once what is just ending has ended."""
        before = self.before
        if before is None:
            return 0, 0

        def gone() -> bool:
            now = self.vitals()
            return now.tasks <= before.tasks and now.descriptors <= before.descriptors

        with suppress(AssertionError):
            until_sync(gone, within)
        now = self.vitals()
        return max(0, now.tasks - before.tasks), max(0, now.descriptors - before.descriptors)

    def grown(self) -> int:
        return self.vitals().memory - self.before.memory if self.before else 0
