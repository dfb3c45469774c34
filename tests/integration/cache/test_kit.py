"""What services test with: a cache in memory, off, watched, under chaos, with its own prefix."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from invalidator.cache import L1, Cache, Kind, Kinds, NotFound, SyncCache
from invalidator.cache.memory import Clock, MemoryCache, SyncMemoryCache
from tests.integration.cache.conftest import WORLDS, Caller
from tests.integration.cache.test_l1 import kept, up

KINDS = Kinds(
    default=Kind(ttl="5m", jitter=0, early=0, negative_ttl="30s"),
    kept=Kind(stale_if_error="1h"),
    swr=Kind(swr="1m"),
)


@pytest.fixture(params=WORLDS)
def memory(request: pytest.FixtureRequest) -> Caller:
    kind = MemoryCache if request.param == "asyncio" else SyncMemoryCache
    return Caller(kind(kinds=KINDS))


def clock_of(caller: Caller) -> Clock:
    assert isinstance(caller.cache, (MemoryCache, SyncMemoryCache))
    return caller.cache.clock


async def test_time_passes_when_the_test_says_so(memory: Caller) -> None:
    assert await memory.read("k", lambda: 1) == 1
    clock_of(memory).tick("4m")
    assert await memory.read("k", lambda: 2) == 1
    clock_of(memory).tick("1m")
    assert await memory.read("k", lambda: 2) == 2
    assert await memory.read("none", lambda: None) is None
    clock_of(memory).tick("29s")
    assert await memory.read("none", lambda: 1) is None
    clock_of(memory).tick("1s")
    assert await memory.read("none", lambda: 1) == 1


async def test_the_memory_keeps_the_whole_protocol(memory: Caller) -> None:
    depends: dict[str, Any] = {"tags": ["t"], "versions": ["v"]}
    for verb, name in (("invalidate", "k"), ("invalidate_tags", "t"), ("bump", "v")):
        assert await memory.read("k", lambda: 1, **depends) == 1
        assert await memory.call(verb, name)
        assert await memory.read("k", lambda: 2, **depends) == 2
        await memory.call("invalidate", "k")
    await memory.write("k", lambda: 3)
    assert await memory.read("k", lambda: 4) == 3
    await memory.call("invalidate", "k")
    wanted = {"a": 1, "b": 2}
    assert await memory.call("get_many", wanted, memory.many(lambda part: part)) == wanted
    await memory.read("s", lambda: 1, kind="swr")
    clock_of(memory).tick("5m")
    await memory.call("expire", "s")
    assert await memory.call("peek", "s", kind="swr") == 1
    with pytest.raises(NotFound):
        await memory.read("missing", _missing)
    await memory.close()


def _missing() -> int:
    raise NotFound("no row")


async def test_one_load_serves_all_readers(memory_cache: MemoryCache) -> None:
    loads = 0

    async def load(_: object) -> int:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return 1

    assert await asyncio.gather(*(memory_cache.get_or_load("k", load) for _ in range(20)))
    assert loads == 1


@pytest.mark.parametrize("l1", [False, True])
async def test_a_cache_that_is_off_loads_and_still_invalidates(
    caller: Caller, server: Any, l1: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.cache.backplane.HEARING", 0.2)
    if l1:
        kind = type(caller.cache)
        caller = Caller(kind.from_url(server.url, kinds=KINDS, l1=L1(), backplane=True))
        await up(caller)
        await kept(caller, "k", 1)
    await caller.read("k", lambda: 1)
    with caller.cache.off():
        assert [await caller.read("k", lambda row=row: row) for row in (5, 6)] == [5, 6]
        await caller.write("k", lambda: 7)
    assert await caller.read("k", lambda: 8) == 8
    with caller.cache.off():
        await caller.call("invalidate", "k")
    assert await caller.read("k", lambda: 9) == 9
    if l1:
        await up(caller)
        await kept(caller, "k", 9)
        await caller.close()


async def test_a_watch_tells_loads_hits_and_keys(memory: Caller) -> None:
    await memory.read("a", lambda: 1)
    with memory.cache.watch() as watch:
        await memory.read("a", lambda: 1)
        assert (watch.loads, watch.hits, watch.keys) == (0, 1, ["a"])
        await memory.read("b", lambda: 1)
    await memory.read("c", lambda: 1)
    assert (watch.loads, watch.hits, watch.keys) == (1, 1, ["a", "b"])


async def test_chaos_fails_calls_but_no_read(caller: Caller) -> None:
    caller.cache.breaker.allows = lambda: True  # type: ignore[method-assign]
    with caller.cache.chaos(fail=0.5, slow="1ms"):
        for row in range(50):
            assert 0 <= await caller.read("k", lambda row=row: row) <= row
    assert caller.stats.bypassed > 5
    assert await caller.read("other", lambda: 1) == 1


async def test_a_cache_of_a_service_works_in_memory(
    caller: Caller, cache_in_memory: Callable[[Any], Clock], now: Any
) -> None:
    await caller.read("k", lambda: 1)
    before = now.keys("*")
    clock = cache_in_memory(caller.cache)
    assert await caller.read("k", lambda: 2) == 2
    clock.tick("10m")
    assert await caller.read("k", lambda: 3) == 3
    assert now.keys("*") == before


async def test_a_test_has_a_prefix_of_its_own(
    caller: Caller, isolated_cache: Callable[[Any], str], now: Any
) -> None:
    await caller.read("k", lambda: 1)
    prefix = isolated_cache(caller.cache)
    depends: dict[str, Any] = {"tags": ["t"], "versions": ["v"]}
    assert await caller.read("k", lambda: 2, **depends) == 2
    assert await caller.read("k", lambda: 3, **depends) == 2
    await caller.call("bump", "v")
    assert await caller.read("k", lambda: 3, **depends) == 3
    await caller.call("invalidate_tags", "t")
    assert await caller.read("k", lambda: 4, **depends) == 4
    mine = now.keys(f"{prefix}*")
    assert len(mine) == 3
    assert all(now.pttl(key) > 0 for key in mine)


def test_what_was_changed_is_as_before(server: Any) -> None:
    for cache in (Cache.from_url(server.url), SyncCache.from_url(server.url)):
        driver: Any = cache.driver
        was = driver._server
        with cache.off(), cache.chaos(fail=0.1), cache.watch():
            assert driver._server is not was
        assert driver._server is was


def test_a_plain_memory_cache_is_at_hand(sync_memory_cache: SyncMemoryCache) -> None:
    assert sync_memory_cache.get_or_load("k", lambda _: 1) == 1
