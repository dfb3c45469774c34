"""This daemon beside what a team would run instead: the same topics, one run, ratios.

python -m benchmarks.throughput [--events 1000000] [--rounds 4] [--contenders abcdefghi]
    [--variants plain,zstd,...]

Every contender reads every round, one after the other; what they do to each other evens out.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import redis

from benchmarks import report, workload
from benchmarks.contenders import CONTENDERS, Contender, Task
from benchmarks.process import started
from benchmarks.report import Entry, Run, Runs
from benchmarks.servers import Servers, servers
from benchmarks.workload import VARIANTS, Variant
from tests.backends.kafka_client import unique

ROOM = 10_000  # keys a command, when a Redis is filled


def main(words: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(words)
    entries = list(entries_of(asked.contenders, asked.variants.split(","), asked.events))
    print(report.machine(), flush=True)
    with servers() as on:
        report.show(compare(on, entries, asked.rounds))


def compare(on: Servers, entries: Sequence[Entry], rounds: int, *, warm_up: bool = True) -> Runs:
    """Everybody reads in every round; the first one only warms the broker up."""
    runs: dict[Entry, list[Run]] = {entry: [] for entry in entries}
    with tempfile.TemporaryDirectory() as folder:
        tasks = _preload(on, entries, Path(folder))
        for number in range(0 if warm_up else 1, rounds + 1):
            for entry in entries:
                task = replace(tasks[entry], group=unique(entry.contender.letter))
                done = run(entry, task)
                print(report.line(number, entry, done), flush=True)
                if number:
                    runs[entry].append(done)
    return runs


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--contenders", default="".join(CONTENDERS), help="their letters")
    options.add_argument("--variants", default=",".join(VARIANTS), help="separated by commas")
    return options


def entries_of(letters: str, variants: Sequence[str], events: int) -> Iterator[Entry]:
    """Who reads what; who cannot run here is named, with the reason."""
    present = []
    for letter in letters:
        if reason := CONTENDERS[letter].missing():
            print(f"# left out: {letter}, {CONTENDERS[letter].name}: {reason}", flush=True)
        else:
            present.append(CONTENDERS[letter])
    for name in variants:
        variant = VARIANTS[name]
        for contender in present:
            if variant.name == "plain" or contender.every_variant or _as_plain(variant, contender):
                yield Entry(contender, variant, events // contender.fewer)


def _as_plain(variant: Variant, contender: Contender) -> bool:
    """Where only the compression differs, all that are fast enough can keep up."""
    return variant.name == "zstd" and contender.fewer == 1


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
    with redis.Redis.from_url(task.servers.redis_url) as client:
        _fill(client, entry.variant.keys)
        with started(entry.contender, task) as watch:
            before, began = watch.spent(), time.monotonic()
            ends = workload.end_keys()
            watch.until(lambda: client.exists(*ends) == 0)
            after, wall = watch.spent(), time.monotonic() - began
    return Run(wall, after.cpu, after.cpu - before.cpu, after.memory)


def _fill(client: "redis.Redis", keys: int) -> None:
    client.flushdb()
    for at in range(0, keys, ROOM):
        client.mset({f"session:{n}": "kept" for n in range(at, min(at + ROOM, keys))})
    client.mset(dict.fromkeys(workload.end_keys(), "stale"))


if __name__ == "__main__":
    main()
