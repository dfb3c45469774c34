"""Keys a second: a cluster of six processes against one Redis, in one run.

python -m benchmarks.cluster [--quick]

On one machine the cluster's processes share its cores with us and with each other, so the ratio
shows what a batch costs that is spread over many slots; on machines of their own, nodes add up.
"""

import asyncio
import time
from collections.abc import Sequence

from benchmarks.options import sizes
from invalidator.redisclient import Client, Command, client, converse
from invalidator.redisclient.server import Server
from invalidator.targets.redis.keys import Keys
from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_server import RedisServer

BATCH = 40_000  # keys: a batch of 20,000 events with two names each
ROUNDS = 3


async def fill(redis: Client, keys: Sequence[str]) -> None:
    for at in range(0, len(keys), BATCH):
        commands: list[Command] = [("SET", key, "cached") for key in keys[at : at + BATCH]]
        await converse(redis, commands)


async def together(redis: Client, keys: Sequence[str]) -> int:
    """As the daemon deletes them."""
    store = Keys(Server(redis, "cache"))
    return sum(
        [(await store.unlink(keys[at : at + BATCH]))[0] for at in range(0, len(keys), BATCH)]
    )


async def one_each(redis: Client, keys: Sequence[str]) -> int:
    """A command for each key, all of a batch in one write."""
    existed = 0
    for at in range(0, len(keys), BATCH):
        commands: list[Command] = [("UNLINK", key) for key in keys[at : at + BATCH]]
        existed += sum(await converse(redis, commands))
    return existed


async def rate(url: str, keys: Sequence[str], how: str) -> float:
    """The best of some rounds."""
    delete = {"together": together, "one each": one_each}[how]
    best = 0.0
    async with client(url, 10.0) as redis:
        for _ in range(ROUNDS):
            await fill(redis, keys)
            began = time.perf_counter()
            assert await delete(redis, keys) == len(keys)
            best = max(best, len(keys) / (time.perf_counter() - began))
    return best


async def measure(count: int) -> None:
    plain = [f"order:single:ord_{n}" for n in range(count)]
    tagged = [f"order:{{customer_{n // 100}}}:ord_{n}" for n in range(count)]
    with RedisServer() as one, RedisCluster() as cluster:
        for keys, what in ((plain, "keys on all slots"), (tagged, "100 keys to a {hash tag}")):
            alone = await rate(one.url, keys, "together")
            singly = await rate(one.url, keys, "one each")
            spread = await rate(cluster.url, keys, "together")
            print(f"{what}:")
            print(f"  one Redis, 256 keys a command {alone:>9,.0f} keys/s")
            print(f"  one Redis, a key a command    {singly:>9,.0f} keys/s")
            print(
                f"  a cluster of six              {spread:>9,.0f} keys/s"
                f"  ({spread / alone:.2f} and {spread / singly:.2f} of these)"
            )


def main(words: Sequence[str] | None = None) -> None:
    asyncio.run(measure(sizes(__doc__, words, keys=(400_000, 4_000)).keys))


if __name__ == "__main__":
    main()
