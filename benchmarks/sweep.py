"""One sweep over a million keys for 1, 100 and 1,000 patterns, in one run.

python -m benchmarks.sweep [--quick]
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.options import sizes
from invalidator.redisclient import Client, client, converse
from invalidator.redisclient.server import Server
from invalidator.runtime.health import Part
from invalidator.targets.redis.keys import Keys
from invalidator.targets.redis.patterns import protected
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.walk import Node, Pace
from tests.backends.redis_server import RedisServer

CHUNK = 10_000
COUNTS = (1, 100, 1_000)
PROTECT = protected(["tag:{tag}", "cache:version:{name}"], ["lock:*", "session:*"])
FORMS = {
    "one prefix": "orders:list:{n}:*",
    "many prefixes": "{kind}:{n}:*",
    "an end after the star": "{kind}:{n}:*:page:1",
}
KINDS = ("orders:list", "users", "teams:members", "items")


async def fill(redis: Client, keys: int) -> None:
    for at in range(0, keys, CHUNK):
        pairs = [w for n in range(at, min(at + CHUNK, keys)) for w in (key(n), "cached")]
        await converse(redis, [("MSET", *pairs)])


def key(n: int) -> str:
    return f"{KINDS[n % 4]}:{n // 10}:{n}:page:{n % 7}"


def patterns(form: str, count: int) -> set[bytes]:
    # few of them exist, so that deleting does not become what is measured
    names = (form.format(kind=KINDS[n % 4], n=(n * 7919) % 10_000_000) for n in range(count))
    return {name.encode() for name in names}


async def sweep(redis: Client, wanted: set[bytes], pace: Pace) -> tuple[float, int]:
    server = Server(redis, "cache")
    node = Node(server, Keys(server).unlink)

    async def nodes() -> Sequence[Node]:
        return [node]

    sweeper = Sweeper(nodes, PROTECT, Part("sweeper"), pace=pace)
    task = asyncio.create_task(sweeper.run())
    began = time.perf_counter()
    progress = await sweeper.request(wanted).wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return time.perf_counter() - began, progress.removed


async def measure(redis: Client, keys: int) -> None:
    await fill(redis, keys)
    for name, form in FORMS.items():
        first = 0.0
        for count in COUNTS:
            took, removed = await sweep(redis, patterns(form, count), Pace(share=1.0))
            first = first or took
            ratio = took / first
            print(f"{name}: {count:>5} patterns {took:.2f} s ({ratio:.2f}), {removed:,} removed")
    took, _ = await sweep(redis, patterns(FORMS["many prefixes"], 100), Pace())
    print(f"at the default pace: {took:.2f} s")


async def alone(keys: int) -> None:
    with RedisServer() as server:
        async with client(server.url, 10.0) as redis:
            await measure(redis, keys)


def main(words: Sequence[str] | None = None) -> None:
    asyncio.run(alone(sizes(__doc__, words, keys=(1_000_000, 2_000)).keys))


if __name__ == "__main__":
    main()
