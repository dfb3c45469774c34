"""Redis is down, silent or full: reads go on, and an invalidation that did not happen says so."""

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.exceptions import ResponseError

from invalidator.cache import Cache, CacheUnavailable, LoadsExhausted, SyncCache
from invalidator.cache.breaker import FAILURES, Breaker
from tests.backends import until
from tests.backends.redis_server import RedisServer
from tests.integration.cache.conftest import KINDS, Caller


@pytest.mark.parametrize("caller", ["asyncio", "threads"], indirect=True)
async def test_reads_load_and_invalidations_raise_while_redis_is_down(
    caller: Caller, server: RedisServer
) -> None:
    await caller.read("k", lambda: 1)
    server.kill()
    for number in range(2 * FAILURES):
        assert await caller.read("k", lambda number=number: number, tags=["t"]) == number
    assert caller.stats.bypassed == 2 * FAILURES
    for verb in ("invalidate", "invalidate_tags", "bump", "expire"):
        with pytest.raises(CacheUnavailable):
            await caller.call(verb, "k")
        assert not await caller.call(verb, "k", quiet=True)
    wanted = {"a": 1, "b": 2}
    calls: list[Any] = []

    def load(part: dict[str, int]) -> dict[str, int]:
        calls.append(part)
        return part

    assert await caller.call("get_many", wanted, caller.many(load)) == wanted
    assert calls == [wanted]
    committed: list[int] = []
    with pytest.raises(CacheUnavailable):
        await caller.write("k", lambda: committed.append(1))
    assert committed == [1]


async def test_a_silent_redis_delays_one_read_and_not_all(
    caller: Caller, server: RedisServer
) -> None:
    await caller.read("k", lambda: 1)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert await caller.read("k", lambda: 2) == 2
        first = time.monotonic() - began
        assert caller.cache.breaker.open_until
        began = time.monotonic()
        for _ in range(20):
            assert await caller.read("k", lambda: 2) == 2
        assert (first < 5, time.monotonic() - began < 5) == (True, True)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await _served_again(caller)


async def _served_again(caller: Caller) -> None:
    async def served() -> bool:
        return bool(await caller.read("k", lambda: 3) != 3)

    await until(served)
    assert not caller.cache.breaker.open_until


async def test_a_flood_is_bounded(server: RedisServer) -> None:
    cache = Cache.from_url(server.url, kinds=KINDS, loads=3)
    server.kill()
    opened = asyncio.Event()

    async def load(_: object) -> int:
        await opened.wait()
        return 1

    reads = [asyncio.create_task(cache.get_or_load(f"k{n}", load)) for n in range(10)]
    done, _ = await asyncio.wait(reads, timeout=60, return_when=asyncio.FIRST_EXCEPTION)
    assert all(isinstance(read.exception(), LoadsExhausted) for read in done)
    await until(lambda: sum(read.done() for read in reads) == 7)
    opened.set()
    results = await asyncio.gather(*reads, return_exceptions=True)
    assert results.count(1) == 3
    assert sum(isinstance(result, LoadsExhausted) for result in results) == 7
    await cache.close()


def test_a_flood_of_threads_is_bounded(server: RedisServer) -> None:
    cache = SyncCache.from_url(server.url, kinds=KINDS, loads=1)
    server.kill()

    def load(_: object) -> Any:
        return cache.get_or_load("inner", lambda _: 1)

    with pytest.raises(LoadsExhausted):
        cache.get_or_load("outer", load)
    cache.close()


async def test_a_full_redis_is_read_around(caller: Caller, now: Any) -> None:
    now.config_set("maxmemory", "1")
    assert await caller.read("k", lambda: 1) == 1
    assert await caller.read("k", lambda: 2, tags=["t"]) == 2
    assert not caller.cache.breaker.open_until
    now.config_set("maxmemory", "0")
    assert await caller.read("k", lambda: 3) == 3
    assert await caller.read("k", lambda: 4) == 3


async def test_a_redis_that_became_full_during_the_load_loses_only_the_entry(
    caller: Caller, now: Any
) -> None:
    def load() -> int:
        now.config_set("maxmemory", "1")
        return 1

    assert await caller.read("k", load) == 1
    now.config_set("maxmemory", "0")


async def test_scripts_are_loaded_again_where_redis_forgot_them(caller: Caller, now: Any) -> None:
    for number in range(3):
        now.script_flush()
        assert await caller.read(f"k{number}", lambda: 1, tags=["t"]) == 1
        assert await caller.read(f"k{number}", lambda: 2, tags=["t"]) == 1


def test_the_breaker_lets_one_look_and_closes_when_redis_answers() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(FAILURES):
        assert breaker.allows()
        breaker.failed(ConnectionRefusedError())
    assert not breaker.allows()
    now = 10.0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.failed(ConnectionRefusedError())
    assert not breaker.allows()
    now = 20.0
    with breaker:
        pass
    assert breaker.allows()
    breaker.failed(TimeoutError())  # alone it is enough
    assert not breaker.allows()


class Slow(float):
    """A time whose comparison lets other threads come in between."""

    def __lt__(self, other: float) -> bool:
        is_less = float(self) < other
        time.sleep(0.01)
        return is_less


def test_the_breaker_lets_one_thread_look() -> None:
    now = 0.0
    breaker = Breaker(lambda: Slow(now))
    breaker.failed(TimeoutError())
    now = 10.0
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: breaker.allows(), range(8))) == 1


def test_the_breaker_closes_when_redis_answers_with_an_error() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    breaker.failed(TimeoutError())
    now = 10.0
    with pytest.raises(CacheUnavailable), breaker:
        raise ResponseError("OOM command not allowed")
    assert [breaker.allows() for _ in range(3)] == [True] * 3
