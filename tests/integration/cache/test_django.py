"""Django's cache API on the read side, without settings of a project."""

import threading
from typing import Any

import pytest

from invalidator.cache import CacheError, CacheUnavailable
from invalidator.cache.django import Backend, _shared
from tests.backends.redis_server import RedisServer
from tests.backends.waiting import until_sync


@pytest.fixture
def backend(server: RedisServer) -> Any:
    made = Backend(server.url, {"KEY_PREFIX": "shop"})
    yield made
    _shared(server.url).close()
    _shared.cache_clear()


def test_what_is_set_comes_back(backend: Any, now: Any) -> None:
    value = {"a": [1, 2.5, None, ("x",)], 7: {"set"}}
    backend.set("k", value, 100)
    assert backend.get("k") == value
    assert 99_000 < now.pttl("shop:1:k") <= 100_000
    assert backend.get("other") is None
    assert backend.get("other", 7) == 7
    assert backend.has_key("k")
    assert "other" not in backend


def test_none_is_a_value(backend: Any) -> None:
    backend.set("k", None)
    assert backend.get("k", 7) is None
    assert backend.get_or_set("k", lambda: 7) is None


def test_add_touch_and_delete(backend: Any, now: Any) -> None:
    assert backend.add("k", 1)
    assert not backend.add("k", 2)
    assert backend.touch("k", 1000)
    assert now.pttl("shop:1:k") > 990_000
    assert not backend.touch("other")
    assert backend.get("k") == 1
    assert backend.delete("k")
    assert not backend.delete("k")
    backend.set("k", 1)
    backend.set("k", 2, 0)
    assert backend.get("k") is None


def test_several_at_once(backend: Any) -> None:
    assert backend.set_many({"a": 1, "b": None}) == []
    assert backend.get_many(["a", "b", "c"]) == {"a": 1, "b": None}
    backend.delete_many(["a", "b"])
    assert backend.get_many(["a", "b"]) == {}
    assert backend.get_many([]) == {}


def test_one_load_for_all_threads(backend: Any) -> None:
    loads, answers, go = [], [], threading.Barrier(8)

    def load() -> int:
        loads.append(1)
        return 7

    def ask() -> None:
        go.wait()
        answers.append(backend.get_or_set("k", load))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(loads), answers) == (1, [7] * 8)


def test_a_load_that_was_overtaken_by_a_deletion_is_not_cached(backend: Any) -> None:
    """Which Django's own get_or_set caches: `default()`, then `add`."""

    def load() -> str:
        backend.delete("k")
        return "old"

    assert backend.get_or_set("k", load) == "old"
    assert backend.get("k") is None


async def test_coroutines_load_under_a_lease(backend: Any) -> None:
    def load() -> str:
        backend.delete("k")
        return "old"

    assert await backend.aget_or_set("k", load) == "old"
    assert await backend.aget("k") is None


async def test_counting_is_refused(backend: Any) -> None:
    backend.set("k", 1)
    for count in (backend.incr, backend.decr):
        with pytest.raises(CacheError, match="SyncWriteBehind"):
            count("k")
    with pytest.raises(CacheError, match="SyncWriteBehind"):
        await backend.aincr("k")


def test_clear_deletes_its_own_keys_alone(backend: Any, server: RedisServer, now: Any) -> None:
    now.set("shopping:1", 1)
    backend.set("k", 1)
    backend.set("k", 1, version=2)
    backend.clear()
    assert now.keys() == [b"shopping:1"]
    with pytest.raises(CacheError, match="KEY_PREFIX"):
        Backend(server.url, {}).clear()


def test_a_redis_that_is_down_is_read_around(backend: Any, server: RedisServer) -> None:
    backend.set("k", 1)
    server.kill()
    assert backend.get("k", 7) == 7
    assert backend.get_or_set("k", lambda: 8) == 8
    with pytest.raises(CacheUnavailable):
        backend.set("k", 2)
    server.start()
    until_sync(lambda: backend.get_or_set("k", lambda: 9) == 9 and backend.get("k") == 9)
