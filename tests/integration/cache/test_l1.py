"""The L1 on a real Redis: invalidations of the real daemon and of services, and broken links."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio.cluster
import redis.cluster

from invalidator.cache import (
    L1,
    SETTINGS,
    Cache,
    CacheError,
    CacheUnavailable,
    Kind,
    Kinds,
    SyncCache,
)
from tests.backends import until
from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_server import RedisServer
from tests.e2e.process import DaemonProcess
from tests.faults.proxy import Proxy
from tests.integration.cache.conftest import WORLDS, Caller

KINDS = Kinds(
    default=Kind(ttl="1h", jitter=0, early=0, l1_ttl="1h"),
    brief=Kind(l1_ttl="1s"),
    never=Kind(l1_ttl=0),
    bridged=Kind(stale_if_error="1h", stale_on=(OSError,)),
)
RULES = """
version: 1
caches: {default: {tags: [{layout: stamp}]}}
rules:
  - {name: key, on: key.changed, invalidate: {keys: ["k:{id}"]}}
  - {name: tag, on: tag.changed, invalidate: {tags: ["t:{id}"]}}
  - {name: version, on: version.changed, invalidate: {versions: ["v:{id}"]}}
  - {name: pattern, on: pattern.changed, invalidate: {patterns: ["k:{id}*"]}}
"""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.cache.backplane.HEARING", 0.2)


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port, random.Random(1)) as proxy:
        yield proxy


def made(world: str, url: str, **options: Any) -> Caller:
    kind = Cache if world == "asyncio" else SyncCache
    return Caller(kind.from_url(url, kinds=KINDS, backplane=True, **options))


@pytest.fixture(params=WORLDS)
async def near(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[Caller]:
    """A cache with an L1, whose way to Redis may be broken."""
    caller = made(request.param, f"redis://{proxy.address}", l1=L1())
    await up(caller)
    yield caller
    await caller.close()


@pytest.fixture
async def other(near: Caller, server: RedisServer) -> AsyncIterator[Caller]:
    """Another service, of the other world."""
    caller = made("threads" if isinstance(near.cache, Cache) else "asyncio", server.url)
    yield caller
    await caller.close()


def near_of(caller: Caller) -> L1:
    assert caller.cache.l1 is not None
    return caller.cache.l1


async def up(caller: Caller) -> None:
    async def is_up() -> bool:
        await caller.read("up", lambda: 1)  # the first read connects
        return near_of(caller).on

    await until(is_up)


async def kept(caller: Caller, key: str, row: Any = 1, **options: Any) -> None:
    """Read until there is a copy: a load, and a hit in Redis."""
    before = caller.stats.l1

    async def is_kept() -> bool:  # a daemon that is new, or a busy machine, drops all for a moment
        assert await caller.read(key, lambda: row, **options) == row
        return caller.stats.l1 > before

    await until(is_kept)


async def dropped(caller: Caller, key: str, row: Any, **options: Any) -> None:
    async def is_dropped() -> bool:
        return bool(await caller.read(key, lambda: row, **options) == row)

    await until(is_dropped)


DEPENDS = {"tags": ["t:1"], "versions": ["v:1"]}


@pytest.mark.parametrize("kind", ["key", "tag", "version", "pattern"])
async def test_what_the_daemon_applies_is_dropped(
    near: Caller, server: RedisServer, now: Any, tmp_path: Path, kind: str
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    settings = {"RULES": str(rules), "REDIS_URL": server.url, "PUBSUB__CHANNELS": "events"}
    daemon = DaemonProcess(settings)
    try:
        daemon.await_ready()
        await kept(near, "k:1", 1, **DEPENDS)
        await kept(near, "other", 1)
        now.publish("events", json.dumps({"type": f"{kind}.changed", "id": "1"}))
        await dropped(near, "k:1", 2, **DEPENDS)
        assert await near.read("other", lambda: 2) == 1
        await kept(near, "k:1", 2, **DEPENDS)
    finally:
        daemon.close()


@pytest.mark.parametrize(
    ("verb", "name"),
    [("invalidate", "k"), ("invalidate_tags", "t:1"), ("bump", "v:1"), ("expire", "k")],
)
async def test_what_another_service_invalidates_is_dropped(
    near: Caller, other: Caller, verb: str, name: str
) -> None:
    await kept(near, "k", 1, **DEPENDS)
    await other.call(verb, name)
    await dropped(near, "k", 2, **DEPENDS)


async def test_what_another_service_writes_is_dropped(near: Caller, other: Caller) -> None:
    await kept(near, "k", 1)
    await other.write("k", lambda: 2)
    await dropped(near, "k", 2)
    await kept(near, "k", 2)
    await other.call("set", "k", 3, version=7)
    await dropped(near, "k", 3)


async def test_own_invalidations_and_writes_take_effect_immediately(near: Caller) -> None:
    for row in range(20):
        await kept(near, "k", row)
        await near.call("invalidate", "k")
        assert await near.read("k", lambda row=row: row + 100) == row + 100
        await kept(near, "k", row + 100)
        await near.write("k", lambda row=row: row + 1)
        assert await near.read("k", lambda row=row: row + 1) == row + 1


async def test_an_invalidation_that_may_have_failed_drops_the_copy(
    near: Caller, proxy: Proxy
) -> None:
    await kept(near, "k", 1)
    proxy.deaf = True
    with pytest.raises(CacheUnavailable):
        await near.call("invalidate", "k")
    assert await near.read("k", lambda: 2) == 2


@pytest.mark.parametrize("trouble", ["reset", "silent"])
async def test_nothing_is_kept_while_the_link_is_broken(
    near: Caller, other: Caller, proxy: Proxy, trouble: str
) -> None:
    await kept(near, "k", 1)
    if trouble == "silent":
        proxy.silent = True
    else:
        proxy.reset()
    await other.call("invalidate", "k")
    await until(lambda: not near_of(near).on)
    proxy.heal()
    await dropped(near, "k", 2)
    await up(near)
    await kept(near, "k", 2)


async def test_a_kind_without_l1_and_a_foreign_deletion(near: Caller, now: Any) -> None:
    for _ in range(4):
        await near.read("k", lambda: 1, kind="never")
        await near.read("b", lambda: 1, kind="brief")
    copies = {*near_of(near)._copies}
    assert ("k" in copies, "b" in copies) == (False, True)
    now.delete("b")  # nobody announces it
    assert await near.read("b", lambda: 2, kind="brief") == 1
    await dropped(near, "b", 2, kind="brief")


async def test_a_last_value_stands_in_while_redis_is_down(
    near: Caller, server: RedisServer
) -> None:
    def fail() -> int:
        raise ConnectionError("the database is down as well")

    def mistake() -> int:
        raise ValueError("a mistake in the loader")

    await kept(near, "k", 1, kind="bridged")
    await kept(near, "plain", 1)
    server.kill()
    await until(lambda: not near_of(near).on)
    assert await near.read("k", fail, kind="bridged") == 1
    assert await near.read("k", lambda: 2, kind="bridged") == 2
    with pytest.raises(ValueError, match="mistake"):
        await near.read("k", mistake, kind="bridged")
    with pytest.raises(ConnectionError):
        await near.read("plain", fail)


async def test_a_busy_listener_receives_everything(near: Caller, other: Caller) -> None:
    for number in range(50):
        await kept(near, f"k{number}", 1)
    await asyncio.gather(*(other.call("invalidate", f"k{number}") for number in range(50)))
    for number in range(50):
        await dropped(near, f"k{number}", 2)
    assert near_of(near).stats.gaps == 0


@pytest.mark.parametrize("world", WORLDS)
async def test_on_a_cluster(cluster: RedisCluster, world: str) -> None:
    host, port = "127.0.0.1", cluster.servers[0].port
    options: dict[str, Any] = {"kinds": KINDS, "backplane": True}

    def caller(**more: Any) -> Caller:
        if world == "asyncio":
            client = redis.asyncio.cluster.RedisCluster(host=host, port=port, **SETTINGS)
            return Caller(Cache(client, **options, **more))
        return Caller(
            SyncCache(
                redis.cluster.RedisCluster(host=host, port=port, **SETTINGS), **options, **more
            )
        )

    near, other = caller(l1=L1()), caller()
    try:
        await up(near)
        await kept(near, "k", 1, **DEPENDS)
        await other.call("invalidate_tags", "t:1")
        await dropped(near, "k", 2, **DEPENDS)
        await near.call("invalidate", "k")
        assert await near.read("k", lambda: 3, **DEPENDS) == 3
    finally:
        await near.close()
        await other.close()


def test_an_l1_needs_the_backplane() -> None:
    with pytest.raises(CacheError, match="backplane=True"):
        Cache.from_url("redis://127.0.0.1:1", l1=L1())


async def test_a_closed_cache_leaves_no_link(near: Caller, now: Any) -> None:
    await near.close()
    nobody = [(b"invalidator:applied", 0)]
    await until(lambda: now.pubsub_numsub("invalidator:applied") == nobody)
    assert not near_of(near).on
