"""Every wait for a load ends: also for a loader that waits for itself, or for its own reader."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from invalidator.cache import Cache, CacheError, Kind, SyncCache
from tests.backends import until
from tests.backends.redis_server import RedisServer
from tests.integration.cache.conftest import KINDS, Caller

BRIEF_WAIT = Kind(lease="30s", wait="300ms")


@pytest.fixture
async def cache(server: RedisServer) -> Any:
    made = Cache.from_url(server.url, kinds=KINDS)
    yield made
    await made.close()


@pytest.fixture
def sync_cache(server: RedisServer) -> Any:
    made = SyncCache.from_url(server.url, kinds=KINDS)
    yield made
    made.close()


async def test_a_loader_that_reads_its_own_entry_is_an_error(cache: Cache) -> None:
    async def outer(_: object) -> int:
        return await cache.get_or_load("other", inner)

    async def inner(_: object) -> int:
        return await cache.get_or_load("k", outer)

    async with asyncio.timeout(60):
        with pytest.raises(CacheError, match="reads the entry that it loads"):
            await cache.get_or_load("k", outer)


def test_a_loader_in_a_thread_that_reads_its_own_entry_is_an_error(sync_cache: SyncCache) -> None:
    def outer(_: object) -> int:
        return sync_cache.get_or_load("other", inner)

    def inner(_: object) -> int:
        return sync_cache.get_or_load("k", outer)

    with pytest.raises(CacheError, match="reads the entry that it loads"):
        sync_cache.get_or_load("k", outer)


async def test_a_lease_beside_a_value_of_no_use_is_not_waited_for_without_end(
    cache: Cache, now: Any
) -> None:
    async def load(_: object) -> int:
        return cache.stats.alone

    await cache.get_or_load("k", load)
    now.setrange("k", 30, b"L" * 16 + b" 9999999999999")
    async with asyncio.timeout(60):
        assert await cache.get_or_load("k", load, kind=Kind(schema=2, wait="100ms")) == 1


async def test_loads_that_wait_for_each_other_end(cache: Cache) -> None:
    both = asyncio.Barrier(2)

    def read(name: str, other: str) -> Any:
        async def load(_: object) -> str:
            await both.wait()
            return name + await cache.get_or_load(other, leaf, kind=BRIEF_WAIT)

        async def leaf(_: object) -> str:
            return other

        return cache.get_or_load(name, load, kind=BRIEF_WAIT)

    async with asyncio.timeout(60):
        found = await asyncio.gather(read("a", "b"), read("b", "a"))
    assert set(found) & {"ab", "ba"}
    assert cache.stats.alone


def test_loads_in_threads_that_wait_for_each_other_end(sync_cache: SyncCache) -> None:
    both = threading.Barrier(2)

    def read(name: str, other: str) -> str:
        def load(_: object) -> str:
            both.wait(60)
            return name + sync_cache.get_or_load(other, lambda _: other, kind=BRIEF_WAIT)

        return sync_cache.get_or_load(name, load, kind=BRIEF_WAIT)

    with ThreadPoolExecutor(2) as threads:
        found = set(threads.map(read, "ab", "ba"))
    assert found & {"ab", "ba"}
    assert sync_cache.stats.alone


async def test_a_load_that_is_cancelled_before_it_begins_wakes_its_reader(cache: Cache) -> None:
    """Closing the cache may cancel the load's task before its first step."""

    async def load(_: object) -> int:
        return 1

    spawn = cache.driver._spawn

    def spawn_cancelled(work: Any) -> Any:
        task = spawn(work)
        task.cancel()
        return task

    cache.driver._spawn = spawn_cancelled  # type: ignore[method-assign]
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await cache.get_or_load("k", load)
    assert not cache.driver._here.flights


@pytest.mark.parametrize("left", [0, 1], ids=["the leader", "a follower"])
async def test_closing_ends_readers_that_wait(server: RedisServer, left: int) -> None:
    cache, loads = Cache.from_url(server.url, kinds=KINDS), 0

    async def load(_: object) -> None:
        nonlocal loads
        loads += 1
        await asyncio.Event().wait()

    leader = asyncio.create_task(cache.get_or_load("k", load))
    await until(lambda: loads)
    reads = [leader, *(asyncio.create_task(cache.get_or_load("k", load)) for _ in range(2))]
    await until(lambda: cache.stats.shared == 2)
    last = reads.pop(left)
    for read in reads:
        read.cancel()
    await asyncio.wait(reads)
    await cache.close()
    async with asyncio.timeout(60):
        with pytest.raises(CacheError, match="the cache is closed"):
            await last
    assert loads == 1


async def test_a_closed_cache_says_so(caller: Caller) -> None:
    assert await caller.read("k", lambda: 1, kind="background") == 1
    await caller.close()
    for call in (caller.read("k", lambda: 1), caller.call("invalidate", "k")):
        with pytest.raises(CacheError, match="the cache is closed"):
            await call


def test_sixty_four_threads_on_a_small_pool_all_end(server: RedisServer) -> None:
    cache = SyncCache.from_url(f"{server.url}?max_connections=2", kinds=KINDS, loads=64)
    with ThreadPoolExecutor(64) as threads:
        found = list(
            threads.map(lambda n: cache.get_or_load(f"k{n % 4}", lambda _: n % 4), range(256))
        )
    assert found == [n % 4 for n in range(256)]
    assert not cache.breaker.open_until
    cache.close()


def test_a_load_that_outlives_its_cache_returns_its_value(sync_cache: SyncCache) -> None:
    def load(_: object) -> int:
        sync_cache.close()
        return 1

    assert sync_cache.get_or_load("k", load) == 1


async def test_refreshes_in_the_background_are_bounded(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.cache.asyncio_driver.MOST_REFRESHES", 1)
    monkeypatch.setattr("invalidator.cache.thread_driver.MOST_REFRESHES", 1)
    opened, kind = threading.Event(), "background"

    def load() -> int:
        opened.wait(60)
        return 2

    async def load_later(_: object) -> int:
        return await asyncio.to_thread(load)

    loader = load_later if isinstance(caller.cache, Cache) else caller.loader(load)
    for key in "ab":
        await caller.read(key, lambda: 1, kind=kind)
        await caller.call("expire", key)
    for key in "aabb":
        assert await caller.call("get_or_load", key, loader, kind=kind) == 1
    assert caller.stats.loads <= 3
    opened.set()
    await until(lambda: caller.stats.puts == 3)
    assert await caller.read("b", lambda: 3, kind=kind) == 1  # the next reader tries again
    await until(lambda: caller.stats.puts == 4)
