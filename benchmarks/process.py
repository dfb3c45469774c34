"""What a process has used up so far, as the kernel counts it."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
USER, SYSTEM = 11, 12  # in /proc/PID/stat, counted behind the process's name


@dataclass(frozen=True, slots=True)
class Spent:
    cpu: float  # seconds, of all its threads
    memory: int  # bytes that were resident at its peak


def spent(pid: int) -> Spent:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[USER]) + int(fields[SYSTEM])) / TICKS
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return Spent(cpu, int(peak) * 1024)
