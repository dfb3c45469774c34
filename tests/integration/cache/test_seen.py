"""What a request has read from the cache, and for how long it is fresh."""

from collections.abc import AsyncIterator

import pytest

from invalidator.cache import L1, Cache, Kind, Kinds, NotFound
from invalidator.cache.seen import Seen, watching
from tests.backends import until
from tests.backends.redis_server import RedisServer
from tests.integration.cache.conftest import KINDS


@pytest.fixture
async def cache(server: RedisServer) -> AsyncIterator[Cache]:
    made = Cache.from_url(server.url, kinds=Kinds(default=Kind(ttl="60s", jitter=0, early=0)))
    yield made
    await made.close()


async def read(cache: Cache, key: str = "k", **more: object) -> Seen:
    async def load(_: object) -> int:
        return 1

    with watching() as seen:
        await cache.get_or_load(key, load, **more)  # type: ignore[arg-type]
    return seen


async def test_a_load_and_a_hit_say_how_long_they_are_fresh(cache: Cache) -> None:
    for _ in range(2):
        seen = await read(cache, tags=["customer:7"], versions=["orders"])
        assert list(seen.keys) == ["k"]
        assert list(seen.stamps) == ["invalidator:stamp:customer:7", "cache:version:orders"]
        assert 50 < seen.fresh <= 60


async def test_the_least_of_all_counts(cache: Cache) -> None:
    with watching() as seen:
        for ttl in ("30s", "60s"):
            await read_in(cache, ttl)
    assert (list(seen.keys), 20 < seen.fresh <= 30) == (["30s", "60s"], True)


async def read_in(cache: Cache, ttl: str) -> None:
    async def load(_: object) -> int:
        return 1

    await cache.get_or_load(ttl, load, kind=Kind(ttl=ttl, jitter=0))


async def test_what_was_invalidated_while_it_loaded_is_not_fresh(cache: Cache) -> None:
    async def load(_: object) -> int:
        await cache.invalidate("k")
        return 1

    with watching() as seen:
        await cache.get_or_load("k", load)
    assert seen.fresh == 0


async def test_what_there_is_not_is_known_for_a_while(cache: Cache) -> None:
    async def load(_: object) -> int:
        raise NotFound

    for _ in range(2):
        with watching() as seen, pytest.raises(NotFound):
            await cache.get_or_load("k", load)
        assert 20 < seen.fresh <= 30


async def test_stale_values_and_loads_without_redis_are_not_fresh(
    cache: Cache, server: RedisServer
) -> None:
    brief = Kind(ttl="1ms", jitter=0, swr="60s", background=True)
    await read(cache, kind=brief)

    async def is_stale() -> bool:
        return (await read(cache, kind=brief)).fresh == 0

    await until(is_stale)
    server.kill()
    assert (await read(cache)).fresh == 0


async def test_many_at_once(cache: Cache) -> None:
    async def load(wanted: dict[str, int]) -> dict[str, int]:
        return wanted

    for fresh in (0, 50):
        with watching() as seen:
            await cache.get_many({"a": 1, "b": 2}, load)
        assert {*seen.keys} == {"a", "b"}
        assert fresh <= seen.fresh <= fresh + 10


async def test_a_copy_in_memory_is_as_fresh_as_its_entry(server: RedisServer) -> None:
    cache = Cache.from_url(server.url, kinds=KINDS, l1=L1(), backplane=True)
    kind = Kind(ttl="60s", jitter=0, l1_ttl="30s")

    async def is_kept() -> bool:
        seen = await read(cache, kind=kind)
        assert 0 < seen.fresh <= 60
        return bool(cache.stats.l1)

    await until(is_kept)
    await cache.close()
