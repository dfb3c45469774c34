"""This daemon beside what a team would run instead: the same topics, one run, ratios.

python -m benchmarks.throughput [--events 1000000] [--rounds 5] [--contenders abcdefghi]
    [--variants plain,zstd,...]

Every contender reads every round, one after the other; what they do to each other evens out.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import redis

from benchmarks import report, workload
from benchmarks.contenders import CONTENDERS, Contender, Task
from benchmarks.process import Spent, spent
from benchmarks.report import Entry, Run
from benchmarks.servers import Servers, servers
from benchmarks.workload import VARIANTS, Variant
from tests.backends.kafka_client import unique

FEWER = 50  # times, for contenders that would take all day
ROOM = 10_000  # keys a command, when a Redis is filled
WITHIN = 600.0  # seconds that one contender may take


def main(words: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(words)
    with tempfile.TemporaryDirectory() as folder, servers() as on:
        entries = list(_entries(asked.contenders, asked.variants.split(","), asked.events))
        tasks = _preload(on, entries, Path(folder))
        runs: dict[Entry, list[Run]] = {entry: [] for entry in entries}
        for number in range(asked.rounds + 1):
            for entry in entries:
                task = replace(tasks[entry], group=unique(entry.contender.letter))
                done = run(entry, task)
                print(report.line(number, entry, done), flush=True)
                if number:  # the first round warms the broker up
                    runs[entry].append(done)
    report.show(runs)


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--contenders", default="".join(CONTENDERS), help="their letters")
    options.add_argument("--variants", default=",".join(VARIANTS), help="separated by commas")
    return options


def _entries(letters: str, variants: Sequence[str], events: int) -> Iterator[Entry]:
    """Who reads what; who cannot run here is named, with the reason."""
    present = []
    for letter in letters:
        if reason := CONTENDERS[letter].missing():
            print(f"left out: {letter}, {CONTENDERS[letter].name}: {reason}")
        else:
            present.append(CONTENDERS[letter])
    for name in variants:
        variant = VARIANTS[name]
        for contender in present:
            if variant.name == "plain" or contender.every_variant or _as_plain(variant, contender):
                count = events // FEWER if contender.slow else events
                yield Entry(contender, variant, count)


def _as_plain(variant: Variant, contender: Contender) -> bool:
    """Where only the compression differs, all that are fast enough can keep up."""
    return variant.name == "zstd" and not contender.slow


def _preload(on: Servers, entries: Sequence[Entry], folder: Path) -> dict[Entry, Task]:
    """One topic for each variant and number of events."""
    topics: dict[tuple[str, int], str] = {}
    tasks = {}
    for entry in entries:
        held = (entry.variant.holds, entry.events)
        if held not in topics:
            topics[held] = unique(entry.variant.holds)
            workload.preload(on.kafka, topics[held], entry.variant, entry.events)
        tasks[entry] = Task(on, topics[held], "", entry.variant, entry.events, folder)
    return tasks


def run(entry: Entry, task: Task) -> Run:
    """One contender's way through its topic."""
    command = entry.contender.command(task)
    with redis.Redis.from_url(task.servers.redis_url) as client, tempfile.TemporaryFile() as said:
        _fill(client, entry.variant.keys)
        environment = {**os.environ, **command.environment}
        process = subprocess.Popen(
            command.words, env=environment, stdout=subprocess.DEVNULL, stderr=said
        )
        watch = _Watch(process, entry.contender, said.fileno())
        try:
            watch.until(lambda: command.ready in watch.said())
            before, began = spent(process.pid), time.monotonic()
            ends = workload.end_keys()
            watch.until(lambda: client.exists(*ends) == 0)
            return _measured(before, spent(process.pid), time.monotonic() - began)
        finally:
            process.kill()
            process.wait()


def _measured(before: Spent, after: Spent, wall: float) -> Run:
    return Run(wall, after.cpu, after.cpu - before.cpu, after.memory)


def _fill(client: "redis.Redis", keys: int) -> None:
    client.flushdb()
    for at in range(0, keys, ROOM):
        client.mset({f"session:{n}": "kept" for n in range(at, min(at + ROOM, keys))})
    client.mset(dict.fromkeys(workload.end_keys(), "stale"))


@dataclass(frozen=True, slots=True)
class _Watch:
    """A contender at work."""

    process: subprocess.Popen[bytes]
    contender: Contender
    output: int

    def until(self, condition) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + WITHIN
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.contender.name} ended:\n{self.said().decode()[-2000:]}")
            time.sleep(0.005)

    def said(self) -> bytes:
        return os.pread(self.output, 1 << 20, 0)


if __name__ == "__main__":
    main()
