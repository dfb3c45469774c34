"""The copies in the process: what a hit costs, and what a thousand announcements a second cost.

python -m benchmarks.near [--quick]
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.options import sizes
from invalidator.cache import L1, Cache, Kind, Kinds, SyncCache
from tests.backends.redis_server import RedisServer

KINDS = Kinds(Kind(ttl="1h", l1_ttl="1h", early=0))
RATE = 1_000  # messages a second
ANNOUNCE = """
import sys, time, redis
from invalidator.cache.backplane import Sender
client, sender, began = redis.Redis(port=int(sys.argv[1])), Sender(), time.perf_counter()
for number in range(int(sys.argv[2])):
    for command in sender.commands("keys", [f"order:single:{number}"]):
        client.execute_command(*command)
    time.sleep(max(0, began + (number + 1) / 1000 - time.perf_counter()))
"""


def show(world: str, hits: list[float], shares: list[float]) -> None:
    print(f"{world:8} a hit {1e6 * min(hits):.2f} to {1e6 * max(hits):.2f} µs", end="")
    print(f", {RATE} messages/s {100 * min(shares):.1f} to {100 * max(shares):.1f}% of a core")


def announcing(port: int, seconds: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", ANNOUNCE, str(port), str(RATE * seconds)])


async def in_asyncio(server: RedisServer, rounds: int, calls: int) -> None:
    cache = Cache.from_url(server.url, kinds=KINDS, l1=L1(), backplane=True)

    @cache.cached("row:{number}")
    async def row(number: int) -> dict[str, int]:
        return {"id": number, "total": 1299}

    while not cache.stats.l1:
        await row(1)
        await asyncio.sleep(0.05)
    hits, shares = [], []
    for _ in range(rounds):
        cpu = time.process_time()
        for _ in range(calls):
            await row(1)
        hits.append((time.process_time() - cpu) / calls)
    for _ in range(min(rounds, 3)):
        sending = announcing(server.port, min(rounds, 5))
        cpu, wall = time.process_time(), time.perf_counter()
        while sending.poll() is None:  # noqa: ASYNC110 - a process has no event
            await asyncio.sleep(0.5)
        shares.append((time.process_time() - cpu) / (time.perf_counter() - wall))
    show("asyncio", hits, shares)
    await cache.close()


def in_threads(server: RedisServer, rounds: int, calls: int) -> None:
    cache = SyncCache.from_url(server.url, kinds=KINDS, l1=L1(), backplane=True)

    @cache.cached("line:{number}")
    def line(number: int) -> dict[str, int]:
        return {"id": number, "total": 1299}

    while not cache.stats.l1:
        line(1)
        time.sleep(0.05)
    hits, shares = [], []
    for _ in range(rounds):
        cpu = time.process_time()
        for _ in range(calls):
            line(1)
        hits.append((time.process_time() - cpu) / calls)
    for _ in range(min(rounds, 3)):
        cpu, wall = time.process_time(), time.perf_counter()
        announcing(server.port, min(rounds, 5)).wait()
        shares.append((time.process_time() - cpu) / (time.perf_counter() - wall))
    show("threads", hits, shares)
    cache.close()


def main(words: Sequence[str] | None = None) -> None:
    asked = sizes(__doc__, words, rounds=(9, 1), calls=(20_000, 100))
    with RedisServer() as server:
        asyncio.run(in_asyncio(server, asked.rounds, asked.calls))
        in_threads(server, asked.rounds, asked.calls)


if __name__ == "__main__":
    main()
