"""A cache of either world on either kind of Redis, called in the same way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster

from invalidator.cache import SETTINGS, Cache, Kind, Kinds, Stats, SyncCache
from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_server import RedisServer
from tests.backends.waiting import LIMIT
from tests.conftest import StartRedis

KINDS = Kinds(
    default=Kind(ttl="5m", jitter=0, early=0, cooldown="50ms", lease="2s"),
    swr=Kind(swr="1h", cooldown="1m"),
    background=Kind(swr="1h", background=True),
    bridged=Kind(stale_if_error="1h", stale_on=(OSError,)),
    brief=Kind(lease="100ms", wait="300ms"),
    tiny=Kind(max_bytes=200),
    forgetful=Kind(negative_ttl=0),
    early=Kind(early=1e9),
)

Load = Callable[..., Any]


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, a slow Redis is no unavailable one; only tests of that keep the limits."""
    if request.path.name != "test_unavailable.py":
        monkeypatch.setattr("invalidator.cache.cache.TIMEOUT", LIMIT)
        monkeypatch.setattr("invalidator.cache.client.POOL_TIMEOUT", LIMIT)
        monkeypatch.setitem(SETTINGS, "socket_timeout", LIMIT)
        monkeypatch.setitem(SETTINGS, "socket_connect_timeout", LIMIT)


class Caller:
    """Awaits a `Cache`, or calls a `SyncCache` in threads; loaders are plain functions."""

    def __init__(self, cache: Cache | SyncCache) -> None:
        self.cache = cache

    @property
    def stats(self) -> Stats:
        return self.cache.stats

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        method: Any = getattr(self.cache, name)
        if isinstance(self.cache, Cache):
            return await method(*args, **options)
        return await asyncio.to_thread(method, *args, **options)

    async def read(self, key: str, load: Load, **options: Any) -> Any:
        return await self.call("get_or_load", key, self.loader(load), **options)

    def loader(self, load: Load) -> Load:
        if isinstance(self.cache, SyncCache):
            return lambda _: load()

        async def loader(_: object) -> Any:
            return load()

        return loader

    def many(self, load: Load) -> Load:
        if isinstance(self.cache, SyncCache):
            return load

        async def load_many(part: Any) -> Any:
            return load(part)

        return load_many

    async def write(self, key: str, commit: Load, **options: Any) -> None:
        """Commit within `writing`; the value is what `commit` returns."""
        if isinstance(self.cache, Cache):
            async with self.cache.writing(key, **options) as write:
                write.value = commit()
            return
        with self.cache.writing(key, **options) as sync_write:
            sync_write.value = commit()

    async def close(self) -> None:
        await self.call("close")


WORLDS = ["asyncio", "threads"]


@pytest.fixture
def server(start_redis: StartRedis) -> RedisServer:
    return start_redis()


@pytest.fixture(params=WORLDS)
async def caller(request: pytest.FixtureRequest, server: RedisServer) -> AsyncIterator[Caller]:
    """On a standalone Redis."""
    world = Cache if request.param == "asyncio" else SyncCache
    made = Caller(world.from_url(server.url, kinds=KINDS, prefix="shop:"))
    yield made
    await made.close()


@pytest.fixture
def now(server: RedisServer) -> Any:
    """A client to look, and to interfere."""
    return redis.Redis(port=server.port)


@pytest.fixture(params=WORLDS)
async def cluster_caller(
    request: pytest.FixtureRequest, cluster: RedisCluster
) -> AsyncIterator[Caller]:
    host, port = "127.0.0.1", cluster.servers[0].port
    made: Caller
    if request.param == "asyncio":
        client = redis.asyncio.cluster.RedisCluster(host=host, port=port, **SETTINGS)
        made = Caller(Cache(client, kinds=KINDS))
    else:
        made = Caller(
            SyncCache(redis.cluster.RedisCluster(host=host, port=port, **SETTINGS), kinds=KINDS)
        )
    yield made
    await made.close()
