"""This daemon beside a hand-written consumer: the same topic, the same run, ratios.

python -m benchmarks.throughput [--events 1000000] [--rounds 5]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import redis

from benchmarks import workload
from benchmarks.servers import Servers, servers
from tests.backends.kafka_client import unique

TOPIC = "load"
READY = b"assigned"  # what a contender says on stderr when it has its partitions


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One contender's way through the topic."""

    wall: float  # seconds from its partitions assigned to the last key gone
    cpu: float  # seconds of its process, start and end included
    memory: int  # bytes, at its peak

    def rates(self, events: int) -> tuple[float, float]:
        return events / self.wall, events / self.cpu


def handwritten(on: Servers, group: str) -> Contender:
    command = [sys.executable, "-m", "benchmarks.contenders.handwritten"]
    return Contender("hand-written", [*command, on.kafka.bootstrap, TOPIC, group, on.redis_url], {})


def daemon(on: Servers, group: str, rules: Path) -> Contender:
    beside = Path(sys.executable).with_name("invalidator")
    installed = str(beside) if beside.exists() else shutil.which("invalidator") or "invalidator"
    environment = {
        "INVALIDATOR_RULES": str(rules),
        "INVALIDATOR_REDIS_URL": on.redis_url,
        "INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS": on.kafka.bootstrap,
        "INVALIDATOR_KAFKA__TOPICS": TOPIC,
        "INVALIDATOR_KAFKA__GROUP_ID": group,
        "INVALIDATOR_KAFKA__START": "earliest",
        "INVALIDATOR_ADMIN__PORT": "0",
    }
    return Contender("invalidator", [installed, "run"], environment)


def run(contender: Contender, redis_url: str) -> Run:
    with redis.Redis.from_url(redis_url) as client, tempfile.TemporaryFile() as said:
        client.flushdb()
        client.mset(dict.fromkeys(workload.end_keys(), "stale"))
        process = subprocess.Popen(
            contender.command, env={**os.environ, **contender.environment}, stderr=said
        )
        try:
            _await(lambda: READY in _read(said.fileno()), process, contender, said.fileno())
            began = time.monotonic()
            ends = workload.end_keys()
            _await(lambda: client.exists(*ends) == 0, process, contender, said.fileno())
            wall = time.monotonic() - began
        finally:
            process.terminate()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _await(condition, process, contender, said) -> None:  # type: ignore[no-untyped-def]
    while not condition():
        if process.poll() is not None:
            raise SystemExit(f"{contender.name} ended:\n{_read(said).decode()[-2000:]}")
        time.sleep(0.005)


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, 1 << 20, 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, servers() as on:
        rules = workload.write_rules(Path(folder))
        workload.preload(on.kafka, TOPIC, asked.events)
        runs: dict[str, list[Run]] = {}
        for number in range(asked.rounds + 1):
            for contender in (
                handwritten(on, unique("hand")),
                daemon(on, unique("daemon"), rules),
            ):
                done = run(contender, on.redis_url)
                if number:  # the first round warms the broker up
                    runs.setdefault(contender.name, []).append(done)
        report(runs, asked.events)


def report(runs: Mapping[str, Sequence[Run]], events: int) -> None:
    print(f"{'':14}{'events/s':>10}{'(min':>10}{'max)':>10}{'per CPU s':>12}{'peak MB':>9}")
    for name, done in runs.items():
        walls = [r.rates(events)[0] for r in done]
        cpus = [r.rates(events)[1] for r in done]
        memory = max(r.memory for r in done) / 1e6
        print(
            f"{name:14}{median(walls):10,.0f}{min(walls):10,.0f}{max(walls):10,.0f}"
            f"{median(cpus):12,.0f}{memory:9.0f}"
        )
    ours, theirs = runs["invalidator"], runs["hand-written"]
    for what, at in (("wall", 0), ("per CPU second", 1)):
        ratios = [
            a.rates(events)[at] / b.rates(events)[at] for a, b in zip(ours, theirs, strict=True)
        ]
        print(
            f"invalidator / hand-written, {what}: {median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
