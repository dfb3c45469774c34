"""Several daemons in one consumer group, against one; and what it costs when one joins.

python -m benchmarks.scaling [--quick]

Broker, Redis and daemons share the cores of this machine: CPU seconds per event tell what more
cores would give, the wall what these allow.
"""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import redis

from benchmarks import latency, workload
from benchmarks.contenders import CONTENDERS, Task
from benchmarks.options import sizes
from benchmarks.process import TICKS, launched
from benchmarks.servers import Servers, servers
from tests.backends.kafka_client import unique

COUNTS = (1, 2, 4)
PLAIN = workload.VARIANTS["plain"]
RATE, SECONDS = 1_000, 8.0
JOINS = 0.375  # of the seconds, then another one joins


def main(words: Sequence[str] | None = None) -> None:
    usual = {"events": (1_000_000, 2_000), "rounds": (3, 1), "warm_up": (1, 0)}
    asked = sizes(__doc__, words, most=(COUNTS[-1], 2), seconds=(SECONDS, 0.5), **usual)
    counts = [count for count in COUNTS if count <= asked.most]
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    # The group waits for all its first members, so that they begin together.
    with TemporaryDirectory() as folder, servers(group_initial_rebalance_delay_ms="3000") as on:
        topic = unique("scaling")
        workload.preload(on.kafka, topic, PLAIN, asked.events)
        for number in range(1 - asked.warm_up, asked.rounds + 1):
            for count in counts:
                task = Task(on, topic, unique("group"), PLAIN, asked.events, Path(folder))
                done = together(task, count)
                print(f"# {number or 'warm-up'}: {count}: {done[0]:.2f} s, CPU {done[1]:.2f} s")
                if number:
                    found[count].append(done)
        joins(on, asked.seconds, Path(folder))
    show(found, asked.events)


def together(task: Task, count: int) -> tuple[float, float]:
    """Seconds from all of them assigned to the last key gone, and CPU seconds of all meanwhile."""
    with redis.Redis.from_url(task.servers.redis_url) as client, ExitStack() as stack:
        client.flushdb()
        ends = workload.end_keys()
        client.mset(dict.fromkeys(ends, "stale"))
        members = [stack.enter_context(launched(CONTENDERS["h"], task)) for _ in range(count)]
        for member in members:
            member.until(member.is_ready)
        began, before = time.monotonic(), sum(member.spent().cpu for member in members)
        members[0].until(lambda: client.exists(*ends) == 0)
        spent = sum(member.spent().cpu for member in members) - before
        return time.monotonic() - began, max(spent, 1 / TICKS)  # less cannot be told


def joins(on: Servers, seconds: float, folder: Path) -> None:
    """The longest that a key lived, with and without a second member that joins meanwhile."""
    for title, at in (("alone", None), ("while another joins", seconds * JOINS)):
        times = latency.measure(on, CONTENDERS["h"], RATE, seconds, folder, another_at=at)
        print(f"{title:22} p99 {latency.share(times, 0.99):8.1f} ms, longest {max(times):8.1f} ms")


def show(found: dict[int, list[tuple[float, float]]], events: int) -> None:
    print(f"{os.cpu_count()} cores for daemons, broker and Redis")
    alone = found[1]
    for count, done in found.items():
        ratios = [one[0] / many[0] for one, many in zip(alone, done, strict=True)]
        print(
            f"{count} daemons: {events / median(wall for wall, _ in done):>10,.0f} events/s, "
            f"{median(ratios):.2f} of one; "
            f"{events / median(cpu for _, cpu in done):>10,.0f} per CPU second of theirs"
        )


if __name__ == "__main__":
    main()
