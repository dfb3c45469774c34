"""A tag of a million members: how long it takes, and the slowest command on the server.

python -m benchmarks.tags [--quick]
"""

import asyncio
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.options import sizes
from invalidator.redisclient import Client, client, converse
from invalidator.redisclient.server import Server
from invalidator.targets.redis.keys import Keys
from invalidator.targets.redis.tags import Layout, Tags
from tests.backends.redis_server import RedisServer

CHUNK = 10_000


async def fill(redis: Client, members: int) -> None:
    for at in range(0, members, CHUNK):
        keys = [f"order:single:{number}" for number in range(at, min(at + CHUNK, members))]
        pairs = [word for key in keys for word in (key, "cached")]
        await converse(redis, [("SADD", "tag:big", *keys), ("MSET", *pairs)])


async def measure(redis: Client, members: int) -> None:
    await fill(redis, members)
    await converse(redis, [("CONFIG", "SET", "slowlog-log-slower-than", "0")])
    await converse(redis, [("CONFIG", "SET", "slowlog-max-len", "20000"), ("SLOWLOG", "RESET")])
    server = Server(redis, "cache")
    tags = Tags(server, [Layout()], Keys(server).unlink)
    before, began = memory(), time.perf_counter()
    watch = asyncio.create_task(peak())
    consumed = await tags.consume(["big"])
    took = time.perf_counter() - began
    (slow, size) = await converse(redis, [("SLOWLOG", "GET", -1), ("DBSIZE",)])
    print(f"{consumed.existed:,} members in {took:.2f} s, {consumed.existed / took:,.0f}/s")
    print(f"daemon memory grew by {await stop(watch) - before:.1f} MB; keys left: {size}")
    times = sorted(entry[2] / 1000 for entry in slow)
    print(f"commands: {len(times)}, 99% within {times[len(times) * 99 // 100]:.2f} ms, ", end="")
    print(f"the slowest {times[-1]:.2f} ms")
    began = time.perf_counter()
    await tags.consume([f"absent{number}" for number in range(10_000)])
    print(f"10,000 absent tags in {(time.perf_counter() - began) * 1000:.0f} ms")


async def peak() -> float:
    most = 0.0
    try:
        while True:
            most = max(most, memory())
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        return most


async def stop(watch: "asyncio.Task[float]") -> float:
    watch.cancel()
    return await watch


def memory() -> float:
    """Resident, in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def alone(members: int) -> None:
    with RedisServer() as server:
        async with client(server.url, 10.0) as redis:
            await measure(redis, members)


def main(words: Sequence[str] | None = None) -> None:
    asyncio.run(alone(sizes(__doc__, words, members=(1_000_000, 2_000)).members))


if __name__ == "__main__":
    main()
