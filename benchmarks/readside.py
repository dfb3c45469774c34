"""The read side beside bare redis-py with orjson, and beside other caches, in one run.

    python -m benchmarks.readside [--quick]

Every way takes its turn in each round; the medians of the rounds are compared, so that what else
the machine does falls on all of them. CPU is this process's alone; peak is of the memory that one
hit allocates.
"""

import asyncio
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
import redis
import redis.asyncio

from benchmarks.options import sizes
from invalidator.cache import Cache, Kind, Kinds, SyncCache
from tests.backends.redis_server import RedisServer

ROW = {"id": "ord_1", "customer": "c7", "total": 1299, "lines": [{"sku": "a", "n": 2}] * 4}
KINDS = Kinds(Kind(ttl="1h"))
TAGS = ["customer:{customer}", "region:{customer}"]
Call = Callable[[], Any]


@dataclass
class Way:
    name: str
    call: Call
    wall: list[float] = field(default_factory=list)  # seconds a call, of each round
    cpu: list[float] = field(default_factory=list)
    peak: int | None = None  # bytes, of one call

    def note(self, calls: int, wall: float, cpu: float) -> None:
        self.wall.append(wall / calls)
        self.cpu.append(cpu / calls)


@contextmanager
def traced(way: Way) -> Iterator[None]:
    """Note the memory that one call takes at most, above what was taken before."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield
    finally:
        way.peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()


# --- asyncio ------------------------------------------------------------------------------------


async def bare_hit(client: Any) -> Any:
    return orjson.loads(await client.get("bare"))


async def bare_miss(client: Any, number: list[int]) -> Any:
    number[0] += 1
    key = f"bare:{number[0]}"
    found = await client.get(key)
    assert found is None
    await client.set(key, orjson.dumps(ROW), ex=3600)
    return ROW


def async_ways(url: str) -> tuple[list[Way], list[Way], Callable[[], Awaitable[None]]]:
    from aiocache import RedisCache, cached
    from aiocache.serializers import JsonSerializer
    from cashews import Cache as Cashews

    cache = Cache.from_url(url, kinds=KINDS)
    client = redis.asyncio.Redis.from_url(url)

    @cache.cached("plain:{order}")
    async def plain(order: str) -> dict[str, Any]:
        return ROW

    @cache.cached("tagged:{order}", tags=TAGS)
    async def tagged(order: str, customer: str) -> dict[str, Any]:
        return ROW

    cashews = Cashews()
    cashews.setup(url)

    @cashews(ttl="1h", key="cashews:{order}")
    async def by_cashews(order: str) -> dict[str, Any]:
        return ROW

    @cashews(ttl="1h", key="locked:{order}", lock=True)
    async def locked(order: str) -> dict[str, Any]:
        return ROW

    parse: Any = redis.connection.parse_url
    server = parse(url)
    options = {"endpoint": server["host"], "port": server["port"], "serializer": JsonSerializer()}
    decorate: Any = cached(
        cache=RedisCache, key_builder=lambda _, order: f"aio:{order}", ttl=3600, **options
    )

    async def by_aiocache(order: str) -> dict[str, Any]:
        return ROW

    by_aiocache = decorate(by_aiocache)
    number = [0]

    def fresh(function: Callable[..., Any], *more: str) -> Call:
        def call() -> Any:
            number[0] += 1
            return function(str(number[0]), *more)

        return call

    async def close() -> None:
        await cache.close()
        await cashews.close()
        await client.aclose()
        aio: Any = by_aiocache
        await aio.cache.client.aclose()

    hits = [
        Way("bare GET", partial(bare_hit, client)),
        Way("ours", partial(plain, "1")),
        Way("ours, 2 tags", partial(tagged, "1", "c7")),
        Way("cashews", partial(by_cashews, "1")),
        Way("aiocache", partial(by_aiocache, "1")),
    ]
    misses = [
        Way("bare GET, SET", partial(bare_miss, client, number)),
        Way("ours", fresh(plain)),
        Way("ours, 2 tags", fresh(tagged, "c7")),
        Way("cashews, lock", fresh(locked)),
        Way("aiocache", fresh(by_aiocache)),
    ]
    return hits, misses, close


async def measure_async(ways: list[Way], rounds: int, calls: int) -> None:
    for way in ways:
        await way.call()
    for _ in range(rounds):
        for way in ways:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                await way.call()
            way.note(calls, time.perf_counter() - wall, time.process_time() - cpu)


async def in_asyncio(url: str, rounds: int, calls: int) -> None:
    hits, misses, close = async_ways(url)
    with redis.Redis.from_url(url) as client:
        client.set("bare", orjson.dumps(ROW))
    await measure_async(hits, rounds, calls)
    for way in hits:
        with traced(way):
            await way.call()
    show("asyncio, hit", hits)
    await measure_async(misses, rounds, calls // 3)
    show("asyncio, miss", misses)
    await close()


# --- threads ------------------------------------------------------------------------------------


def sync_ways(url: str) -> tuple[list[Way], list[Way], Callable[[], None]]:
    from dogpile.cache import make_region

    cache = SyncCache.from_url(url, kinds=KINDS)
    client: Any = redis.Redis.from_url(url)
    region = make_region(key_mangler=str).configure(
        "dogpile.cache.redis",
        arguments={"url": url, "redis_expiration_time": 3600, "distributed_lock": False},
    )

    @cache.cached("plain:{order}")
    def plain(order: str) -> dict[str, Any]:
        return ROW

    @cache.cached("tagged:{order}", tags=TAGS)
    def tagged(order: str, customer: str) -> dict[str, Any]:
        return ROW

    @region.cache_on_arguments()
    def by_dogpile(order: str) -> dict[str, Any]:
        return ROW

    number = [10_000_000]

    def miss() -> Any:
        number[0] += 1
        assert client.get(f"bare:{number[0]}") is None
        client.set(f"bare:{number[0]}", orjson.dumps(ROW), ex=3600)

    def fresh(function: Callable[..., Any], *more: str) -> Call:
        def call() -> Any:
            number[0] += 1
            return function(str(number[0]), *more)

        return call

    hits = [
        Way("bare GET", lambda: orjson.loads(client.get("bare"))),
        Way("ours", partial(plain, "1")),
        Way("ours, 2 tags", partial(tagged, "1", "c7")),
        Way("dogpile.cache", partial(by_dogpile, "1")),
    ]
    misses = [
        Way("bare GET, SET", miss),
        Way("ours", fresh(plain)),
        Way("ours, 2 tags", fresh(tagged, "c7")),
        Way("dogpile.cache", fresh(by_dogpile)),
    ]

    def close() -> None:
        cache.close()
        client.close()

    return hits, misses, close


def measure(ways: list[Way], rounds: int, calls: int) -> None:
    for way in ways:
        way.call()
    for _ in range(rounds):
        for way in ways:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                way.call()
            way.note(calls, time.perf_counter() - wall, time.process_time() - cpu)


def in_threads(url: str, rounds: int, calls: int) -> None:
    hits, misses, close = sync_ways(url)
    measure(hits, rounds, calls)
    for way in hits:
        with traced(way):
            way.call()
    show("threads, hit", hits)
    measure(misses, rounds, calls // 3)
    show("threads, miss", misses)
    close()


def show(title: str, ways: list[Way]) -> None:
    """Print each way beside the first: ratios of rounds, so that a busy moment counts for both."""
    print(f"\n{title:20} {'µs':>8} {'of bare':>8} {'CPU µs':>8} {'of bare':>8} {'peak B':>8}")
    bare = ways[0]
    for way in ways:
        wall, cpu = statistics.median(way.wall), statistics.median(way.cpu)
        ratio = statistics.median(a / b for a, b in zip(way.wall, bare.wall, strict=True))
        share = statistics.median(a / b for a, b in zip(way.cpu, bare.cpu, strict=True))
        peak = "" if way.peak is None else f"{way.peak:8}"
        print(f"{way.name:20} {1e6 * wall:8.0f} {ratio:8.2f} {1e6 * cpu:8.0f} {share:8.2f} {peak}")


def main(words: Sequence[str] | None = None) -> None:
    asked = sizes(__doc__, words, rounds=(25, 1), calls=(300, 3))
    with RedisServer() as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # others call what redis-py will drop
        asyncio.run(in_asyncio(server.url, asked.rounds, asked.calls))
        in_threads(server.url, asked.rounds, asked.calls)


if __name__ == "__main__":
    main()
