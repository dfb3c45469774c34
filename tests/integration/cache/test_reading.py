"""Reads: hits, tags, versions, stale values, absent rows, failures."""

import time
from typing import Any

import pytest

from invalidator.cache import (
    MISSING,
    Cache,
    CacheError,
    Kind,
    Loaded,
    NotFound,
    SyncCache,
    UnsafeSet,
    current_load,
    current_sync_load,
)
from tests.backends import until
from tests.backends.redis_sentinel import SERVICE
from tests.backends.redis_server import RedisServer
from tests.conftest import StartSentinel
from tests.integration.cache.conftest import KINDS, Caller


class Rows:
    """A database of one row, that counts how often it is read."""

    def __init__(self, row: Any = 1) -> None:
        self.row = row
        self.loads = 0

    def load(self) -> Any:
        self.loads += 1
        if isinstance(self.row, Exception):
            raise self.row
        return self.row


async def test_a_value_is_loaded_once_and_again_after_its_invalidation(caller: Caller) -> None:
    rows = Rows({"id": 1})
    assert [await caller.read("k", rows.load) for _ in range(3)] == [{"id": 1}] * 3
    assert rows.loads == 1
    rows.row = {"id": 2}
    assert await caller.call("invalidate", "k")
    assert await caller.read("k", rows.load) == {"id": 2}
    assert (caller.stats.hits, caller.stats.loads, caller.stats.puts) == (2, 2, 2)


@pytest.mark.parametrize("value", [0, "", [], False, {}])
async def test_a_falsy_value_is_a_value(caller: Caller, value: Any) -> None:
    rows = Rows(value)
    assert [await caller.read("k", rows.load) for _ in range(2)] == [value] * 2
    assert rows.loads == 1


@pytest.mark.parametrize("verb", ["invalidate_tags", "bump"])
async def test_an_invalidated_tag_or_version_reaches_all_its_entries(
    caller: Caller, verb: str
) -> None:
    rows, names = Rows(), {"tags": ["c7", "c8"], "versions": ["v"]}
    for key in ("a", "b", "a", "b"):
        assert await caller.read(key, rows.load, **names) == 1
    assert rows.loads == 2
    rows.row = 2
    await caller.call(verb, "other")
    assert await caller.read("a", rows.load, **names) == 1
    await caller.call(verb, "c8" if verb == "invalidate_tags" else "v")
    for key in ("a", "b"):
        assert await caller.read(key, rows.load, **names) == 2


async def test_what_the_daemon_does_is_enough(caller: Caller, now: Any) -> None:
    """It deletes keys and stamps, and raises versions."""
    rows, names = Rows(), {"tags": ["t"], "versions": ["v"]}
    for number, delete in enumerate(
        [
            lambda: now.unlink("shop:k"),
            lambda: now.unlink("invalidator:stamp:t"),
            lambda: now.incr("cache:version:v"),
            lambda: now.unlink("cache:version:v"),  # evicted
            now.flushall,
        ]
    ):
        rows.row = number
        assert await caller.read("k", rows.load, **names) == number
        rows.row = "new"
        delete()
        assert await caller.read("k", rows.load, **names) == "new"
        await caller.call("invalidate", "k")


async def test_an_absent_row_is_remembered_for_a_while(caller: Caller) -> None:
    rows = Rows(None)
    assert [await caller.read("k", rows.load) for _ in range(2)] == [None] * 2
    assert rows.loads == 1
    for _ in range(2):
        await caller.read("f", rows.load, kind="forgetful")
    assert rows.loads == 3
    rows.row = NotFound("no such order")
    for _ in range(2):
        with pytest.raises(NotFound):
            await caller.read("n", rows.load)
    assert rows.loads == 4


async def test_a_stale_value_is_served_while_it_is_refreshed(caller: Caller) -> None:
    rows = Rows()
    await caller.read("k", rows.load, kind="swr")
    rows.row = 2
    await caller.call("expire", "k")
    assert await caller.read("k", rows.load, kind="swr") == 2  # this reader was chosen
    await caller.call("expire", "k")
    rows.row = OSError("the database is down")
    assert await caller.read("k", rows.load, kind="swr") == 2
    assert await caller.read("k", rows.load, kind="swr") == 2  # the cooldown: nobody tries
    assert rows.loads == 3


async def test_a_refresh_in_the_background_delays_nobody(caller: Caller) -> None:
    rows = Rows()
    await caller.read("k", rows.load, kind="background")
    rows.row = 2
    await caller.call("expire", "k")
    assert await caller.read("k", rows.load, kind="background") == 1
    await until(lambda: caller.stats.puts == 2)
    assert await caller.read("k", rows.load, kind="background") == 2


async def test_a_value_is_refreshed_before_it_expires(caller: Caller) -> None:
    rows, eager = Rows(1), Kind(ttl="5m", early=1e9, jitter=0)

    def load() -> Any:
        time.sleep(0.005)  # the longer a load takes, the earlier its value is refreshed
        return rows.load()

    async def refreshed() -> bool:
        return bool(await caller.read("k", load, kind=eager) == 2)

    assert not await refreshed()
    rows.row = 2
    await until(refreshed)


async def test_an_old_value_bridges_failures_of_the_named_kinds(caller: Caller) -> None:
    rows = Rows()
    await caller.read("k", rows.load, kind="bridged")
    await caller.call("expire", "k")
    rows.row = ConnectionRefusedError()
    assert await caller.read("k", rows.load, kind="bridged") == 1
    for error in (ValueError("a mistake"), NotFound("deleted")):
        await caller.call("expire", "k")
        rows.row = error
        with pytest.raises(type(error)):
            await caller.read("k", rows.load, kind="bridged")


async def test_after_a_failure_nobody_tries_for_a_while(caller: Caller) -> None:
    rows = Rows(OSError("down"))
    with pytest.raises(OSError, match="down"):
        await caller.read("k", rows.load)
    rows.row = 1
    assert await caller.read("k", rows.load) == 1
    assert caller.stats.waits > 0


@pytest.mark.parametrize("foreign", ["string", "hash"])
async def test_a_foreign_value_is_a_miss_and_stays(caller: Caller, now: Any, foreign: str) -> None:
    if foreign == "string":
        now.set("shop:k", '{"id": 1}')
    else:
        now.hset("shop:k", "a", "1")
    rows = Rows(2)
    for names in ({}, {"tags": ["t"]}):
        assert await caller.read("k", rows.load, **names) == 2
    assert now.type("shop:k") == foreign.encode()
    assert rows.loads == 2


async def test_another_schema_or_codec_is_a_miss(caller: Caller, now: Any) -> None:
    rows = Rows([1])
    await caller.read("k", rows.load)
    await caller.read("k", rows.load, kind=Kind(schema=2, jitter=0))
    assert rows.loads == 2
    entry = now.get("shop:k")
    now.set("shop:k", entry[:-3] + b"[1")
    assert await caller.read("k", rows.load, kind=Kind(schema=2, jitter=0)) == [1]
    assert rows.loads == 3


async def test_a_value_that_is_too_large_is_not_cached(caller: Caller, now: Any) -> None:
    rows = Rows("x" * 200)
    assert await caller.read("k", rows.load, kind="tiny") == "x" * 200
    assert not now.exists("shop:k")
    assert caller.stats.too_large == 1


async def test_every_key_has_a_lifetime_but_versions(caller: Caller, now: Any) -> None:
    await caller.read("k", Rows().load, tags=["t"], versions=["v"])
    await caller.read("n", Rows(None).load)
    lives = {key: now.ttl(key) for key in now.scan_iter()}
    assert lives.pop(b"cache:version:v") == -1
    assert 29 <= lives.pop(b"shop:n") <= 30
    assert 299 <= lives.pop(b"shop:k") <= 300
    assert 599 <= lives.pop(b"invalidator:stamp:t") <= 600
    assert lives == {}


async def test_what_only_the_value_knows(caller: Caller, now: Any) -> None:
    rows = Rows(Loaded(1, ttl="1h", version=7, tags=["category:5"]))
    for _ in range(2):
        assert await caller.read("k", rows.load) == 1
    assert rows.loads == 2  # the tag was new: its stamp has to be taken before the load
    assert now.ttl("shop:k") > 3590
    await caller.call("invalidate_tags", "category:5")
    assert await caller.read("k", rows.load) == 1
    assert rows.loads == 3
    assert await caller.call("peek", "k") == 1


async def test_a_loader_names_tags_before_it_reads(caller: Caller) -> None:
    loads = 0

    async def load(context: Any) -> int:
        nonlocal loads
        loads += 1
        await context.tag("a", "b")
        assert current_load() is context
        return loads

    def sync_load(context: Any) -> int:
        nonlocal loads
        loads += 1
        context.tag("a", "b")
        assert current_sync_load() is context
        return loads

    loader = load if isinstance(caller.cache, Cache) else sync_load
    for _ in range(2):
        assert await caller.call("get_or_load", "k", loader) == 1
    await caller.call("invalidate_tags", "b")
    assert await caller.call("get_or_load", "k", loader) == 2
    with pytest.raises(CacheError, match="no load is running"):
        current_load()


async def test_many_are_read_at_once_and_the_missing_loaded_at_once(caller: Caller) -> None:
    calls: list[dict[str, int]] = []

    def load(part: dict[str, int]) -> dict[str, int]:
        calls.append(part)
        return {key: 10 * arg for key, arg in part.items() if arg != 3}

    async def many(*args: int) -> Any:
        wanted = {f"k{arg}": arg for arg in args}
        return await caller.call("get_many", wanted, caller.many(load), tags=["t"])

    assert await many(1, 2) == {"k1": 10, "k2": 20}
    assert await many(1, 2, 3, 4) == {"k1": 10, "k2": 20, "k3": None, "k4": 40}
    assert await many(3, 4) == {"k3": None, "k4": 40}
    assert calls == [{"k1": 1, "k2": 2}, {"k3": 3, "k4": 4}]
    await caller.call("invalidate_tags", "t")
    assert await many(1) == {"k1": 10}
    assert len(calls) == 3


async def test_tags_that_a_load_of_many_names_invalidate_its_entries(caller: Caller) -> None:
    row = "old"

    def load(part: dict[str, int]) -> dict[str, Loaded[str]]:
        return {key: Loaded(row, tags=[f"category:{arg}"]) for key, arg in part.items()}

    async def many() -> Any:
        wanted = {"k1": 1, "k2": 2}
        return await caller.call("get_many", wanted, caller.many(load))

    assert await many() == {"k1": "old", "k2": "old"}
    row = "new"
    assert await many() == {"k1": "old", "k2": "old"}
    await caller.call("invalidate_tags", "category:1")
    assert await many() == {"k1": "new", "k2": "old"}


async def test_warming_loads_what_is_missing(caller: Caller) -> None:
    def load(part: dict[str, int]) -> dict[str, int]:
        return part

    seen: list[int] = []
    wanted = {f"k{number}": number for number in range(250)}
    await caller.read("k7", Rows(7).load)
    warm = await caller.call(
        "warm", wanted, caller.many(load), progress=lambda progress: seen.append(progress.seen)
    )
    assert (warm.total, warm.seen, warm.loaded) == (250, 250, 249)
    assert sorted(seen) == [50, 150, 250] or sorted(seen)[-1] == 250
    assert await caller.call("peek", "k249") == 249
    assert await caller.call("peek", "k250") is MISSING


async def test_a_writer_fills_the_entry_unless_somebody_interferes(
    caller: Caller, now: Any
) -> None:
    rows = Rows(1)
    await caller.read("k", rows.load, tags=["t"])

    def commit() -> int:
        assert now.get("shop:k")[-1:] == b"1"  # readers keep hitting the old value
        rows.row = 2
        return 2

    await caller.write("k", commit, tags=["t"])
    assert await caller.read("k", rows.load, tags=["t"]) == 2
    assert rows.loads == 1

    def interrupted() -> int:
        rows.row = 4
        now.unlink("shop:k")
        return 3

    await caller.write("k", interrupted, tags=["t"])
    assert await caller.read("k", rows.load, tags=["t"]) == 4


TAGGED = [  # what is there when a writer begins that names no tag: the loader names one
    "the value",
    "nothing, after a load of this process",
    "the value, loaded by another process",
]


@pytest.mark.parametrize("there", TAGGED)
async def test_a_writer_that_does_not_know_a_tag_of_the_loader_drops_the_entry(
    caller: Caller, now: Any, server: RedisServer, there: str
) -> None:
    rows = Rows(Loaded(1, tags=["category:5"]))
    other = Caller(type(caller.cache).from_url(server.url, kinds=KINDS, prefix="shop:"))
    await (other if "another" in there else caller).read("k", rows.load)
    if "nothing" in there:
        await caller.call("invalidate", "k")
    await caller.write("k", lambda: 2)
    rows.row = Loaded(3, tags=["category:5"])
    await caller.call("invalidate_tags", "category:5")
    assert await caller.read("k", rows.load) == 3
    await other.close()


async def test_a_writer_names_the_tags_that_its_value_names(caller: Caller, now: Any) -> None:
    await caller.write("k", lambda: Loaded(1, ttl="1h", tags=["category:5"]))
    assert not now.exists("shop:k")  # its stamp was not taken before the transaction
    await caller.write("k", lambda: Loaded(1, ttl="1h", tags=["category:5"]), tags=["category:5"])
    assert await caller.call("peek", "k") == 1
    assert now.ttl("shop:k") > 3000
    await caller.call("invalidate_tags", "category:5")
    assert await caller.call("peek", "k") is MISSING


async def test_a_failed_transaction_drops_the_entry(caller: Caller, now: Any) -> None:
    await caller.read("k", Rows().load)

    def fail() -> int:
        raise OSError("no one knows whether it was committed")

    with pytest.raises(OSError, match="no one knows"):
        await caller.write("k", fail)
    assert not now.exists("shop:k")


async def test_a_row_version_replaces_an_older_value_and_fills_nothing(
    caller: Caller, now: Any
) -> None:
    assert not await caller.call("set", "k", 5, version=5)
    assert not now.exists("shop:k")
    await caller.read("k", Rows(Loaded(5, version=5)).load)
    assert await caller.call("set", "k", 6, version=6)
    assert not await caller.call("set", "k", 5, version=5)
    assert await caller.call("peek", "k") == 6
    await caller.read("tagged", Rows(Loaded(5, version=5)).load, tags=["t"])
    assert not await caller.call("set", "tagged", 6, version=6)  # it depends on other rows, too
    assert not now.exists("shop:tagged")


async def test_a_bare_set_names_the_safe_ways(caller: Caller) -> None:
    with pytest.raises(UnsafeSet, match=r"writing\(key\).*version=row.version.*refresh\(\)"):
        await caller.call("set", "k", 1)


async def test_refresh_loads_anew(caller: Caller) -> None:
    rows = Rows()
    await caller.read("k", rows.load)
    rows.row = 2
    assert await caller.call("refresh", "k", caller.loader(rows.load)) == 2
    assert await caller.read("k", rows.load) == 2


async def test_a_cluster_serves_the_same(cluster_caller: Caller) -> None:
    caller, rows, names = cluster_caller, Rows(), {"tags": ["a", "b"], "versions": ["v"]}
    for verb, name in (("invalidate", "k"), ("invalidate_tags", "b"), ("bump", "v")):
        assert await caller.read("k", rows.load, **names) == rows.row
        rows.row += 1
        assert await caller.read("k", rows.load, **names) == rows.row - 1
        await caller.call(verb, name)
    await caller.write("k", lambda: 9, **names)
    assert await caller.read("k", rows.load, **names) == 9
    wanted = {f"m{number}": number for number in range(20)}
    for _ in range(2):
        assert await caller.call("get_many", wanted, caller.many(dict), tags=["a"]) == wanted


async def test_a_client_of_sentinels_serves_the_same(start_sentinel: StartSentinel) -> None:
    import redis
    import redis.asyncio

    hosts = [("127.0.0.1", sentinel.port) for sentinel in start_sentinel().sentinels]
    asynchronous: Any = redis.asyncio.Sentinel
    threads: Any = redis.Sentinel
    sentinels = [asynchronous(hosts), threads(hosts)]
    client, sync_client = (each.master_for(SERVICE) for each in sentinels)
    for cache in (Cache(client, kinds=KINDS), SyncCache(sync_client, kinds=KINDS)):
        caller, rows = Caller(cache), Rows()
        assert [await caller.read("k", rows.load, tags=["t"]) for _ in range(2)] == [1, 1]
        await caller.call("invalidate", "k")
        await caller.close()
    for sentinel in sentinels[0].sentinels:
        await sentinel.aclose()


def test_a_client_that_cannot_do_is_an_error_at_once() -> None:
    import redis
    import redis.asyncio

    with pytest.raises(CacheError, match="decode_responses=False"):
        SyncCache(redis.Redis(decode_responses=True))
    with pytest.raises(CacheError, match=r"redis\.asyncio\.Redis"):
        Cache(redis.Redis())
    with pytest.raises(CacheError, match="not Redis"):
        SyncCache(redis.asyncio.Redis())
