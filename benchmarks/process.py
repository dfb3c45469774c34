"""A contender's process: started, watched, and what the kernel says that it has used up."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender, Task

TICKS = os.sysconf("SC_CLK_TCK")
USER, SYSTEM = 11, 12  # in /proc/PID/stat, counted behind the process's name
WITHIN = 600.0  # seconds that one contender may take
POLL = 0.005


@dataclass(frozen=True, slots=True)
class Spent:
    cpu: float  # seconds, of all its threads
    memory: int  # bytes that were resident at its peak


@dataclass(frozen=True, slots=True)
class Watch:
    """A contender at work."""

    name: str
    process: subprocess.Popen[bytes]
    output: int  # what it says
    ready: bytes  # what it says when it has its partitions

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN
        while not condition():
            self.alive()
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name} takes too long:\n{self._tail()}")
            time.sleep(POLL)

    def alive(self) -> None:
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended:\n{self._tail()}")

    def is_ready(self) -> bool:
        return self.ready in os.pread(self.output, 1 << 20, 0)

    def spent(self) -> Spent:
        of = Path("/proc", str(self.process.pid))
        fields = (of / "stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[USER]) + int(fields[SYSTEM])) / TICKS
        lines = (of / "status").read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return Spent(cpu, int(peak) * 1024)

    def _tail(self) -> str:
        return os.pread(self.output, 1 << 20, 0).decode(errors="replace")[-2000:]


@contextmanager
def launched(contender: Contender, task: Task) -> Iterator[Watch]:
    """Its process; killed afterwards."""
    command = contender.command(task)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command.words, env=command.environment, stdout=said, stderr=said)
        try:
            yield Watch(contender.name, process, said.fileno(), command.ready)
        finally:
            process.kill()
            process.wait()


@contextmanager
def started(contender: Contender, task: Task) -> Iterator[Watch]:
    """Its process, once it has its partitions."""
    with launched(contender, task) as watch:
        watch.until(watch.is_ready)
        yield watch
