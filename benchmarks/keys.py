"""Keys a second: the store, one delete after the other, and redis-benchmark with the same commands.

python -m benchmarks.keys [--quick]

All in one run, on keys that are not there (what redis-benchmark can ask for), and the store once
more on keys that are.
"""

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

from redis.asyncio import Redis

from benchmarks.options import sizes
from invalidator.redisclient import Client, Command, client, converse
from invalidator.redisclient.server import Server
from invalidator.targets.redis.keys import PER_COMMAND, Keys
from tests.backends.redis_server import RedisServer

BATCH = 40_000  # keys: a batch of 20,000 events with two names each
FEWER = 200  # times, where each key waits for its answer
PIPELINE = BATCH // PER_COMMAND  # commands that redis-benchmark sends together, as we do

Work = Callable[[Sequence[str]], Awaitable[object]]


async def fill(redis: Client, keys: Sequence[str]) -> None:
    for at in range(0, len(keys), BATCH):
        commands: list[Command] = [("SET", key, "cached") for key in keys[at : at + BATCH]]
        await converse(redis, commands)


async def rate(work: Work, keys: Sequence[str]) -> float:
    began = time.perf_counter()
    await work(keys)
    return len(keys) / (time.perf_counter() - began)


def by_redis_benchmark(port: int, count: int) -> float:
    """Redis's own C client, on one connection, which does nothing with the replies."""
    words = ["redis-benchmark", "-p", str(port), "-c", "1", "-P", str(PIPELINE), "--csv"]
    words += ["-n", str(count // PER_COMMAND), "-r", "1000000", "UNLINK"]
    words += ["order:single:__rand_int__"] * PER_COMMAND
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return float(said.splitlines()[-1].split('","')[1]) * PER_COMMAND


async def measure(port: int, url: str, count: int, rounds: int) -> dict[str, list[float]]:
    names = [f"order:single:{number:012d}" for number in range(count)]
    found: dict[str, list[float]] = {}
    plain = Redis.from_url(url)
    async with client(url, 10.0) as redis, plain:
        store = Keys(Server(redis, "cache"))

        async def together(keys: Sequence[str]) -> None:
            for at in range(0, len(keys), BATCH):
                await store.unlink(keys[at : at + BATCH])

        async def one_by_one(keys: Sequence[str]) -> None:
            for key in keys:
                await plain.delete(key)

        for _ in range(rounds):
            await plain.flushdb()
            for title, done in (
                ("the store", await rate(together, names)),
                ("redis-benchmark", by_redis_benchmark(port, count)),
                ("one await per key", await rate(one_by_one, names[: count // FEWER])),
            ):
                found.setdefault(title, []).append(done)
            await fill(redis, names)
            found.setdefault("the store, keys that are there", []).append(
                await rate(together, names)
            )
    return found


def main(words: Sequence[str] | None = None) -> None:
    asked = sizes(__doc__, words, keys=(1_000_000, 40_000), rounds=(5, 1))
    with RedisServer() as server:
        found = asyncio.run(measure(server.port, server.url, asked.keys, asked.rounds))
    ours = found["the store"]
    for title, rates in found.items():
        ratio = median(mine / other for mine, other in zip(ours, rates, strict=True))
        print(f"{title:32}{median(rates):>12,.0f} keys/s   the store's ratio to it {ratio:8.2f}")


if __name__ == "__main__":
    main()
