"""Clocks that are off, replies that are lost, lifetimes of nothing: no read suffers."""

import asyncio
import time
from typing import Any

import pytest

from invalidator.cache import Cache, Kind, Loaded, NotFound
from invalidator.cache.scripts import FINISH
from tests.backends import until
from tests.backends.redis_server import RedisServer
from tests.integration.cache.conftest import KINDS, Caller
from tests.integration.cache.test_reading import Rows


@pytest.mark.parametrize("nothing", [None, NotFound("no such order")])
async def test_what_was_absent_is_refreshed_as_any_value(caller: Caller, nothing: Any) -> None:
    rows = Rows(nothing)
    for _ in range(2):
        try:
            assert await caller.read("k", rows.load, kind="swr") is None
        except NotFound:
            assert nothing
    rows.row = 2
    await caller.call("expire", "k")
    assert await caller.read("k", rows.load, kind="swr") == 2
    assert rows.loads == 2


@pytest.mark.parametrize("kind", ["default", "swr", "bridged"])
async def test_a_lifetime_of_nothing_is_not_cached(caller: Caller, now: Any, kind: str) -> None:
    rows = Rows(Loaded(1, ttl=0))
    for loads in (1, 2):
        assert await caller.read("k", rows.load, kind=kind) == 1
        assert (rows.loads, now.exists("shop:k")) == (loads, 0)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_an_hour_off_costs_one_load(caller: Caller, hours: int) -> None:
    rows, here = Rows(), caller.cache._here
    await caller.read("k", rows.load)
    here.clock = lambda: time.time() + 3600 * hours
    assert [await caller.read("k", rows.load) for _ in range(5)] == [1] * 5
    assert rows.loads <= 2
    rows.row = 2
    await caller.call("invalidate", "k")
    assert [await caller.read("k", rows.load) for _ in range(5)] == [2] * 5
    assert rows.loads <= 3


async def test_a_lease_whose_reply_was_lost_delays_others_until_it_ends(
    server: RedisServer, now: Any
) -> None:
    cache, other = (Cache.from_url(server.url, kinds=KINDS) for _ in range(2))
    send = cache.driver._server.send

    async def lose(commands: Any) -> Any:
        await send(commands)
        raise TimeoutError

    cache.driver._server.send = lose  # type: ignore[method-assign]
    rows = Rows()

    async def load(_: object) -> Any:
        return rows.load()

    assert await cache.get_or_load("k", load, kind="brief") == 1
    assert now.get("k").startswith(b"!i1 L")  # it was granted, and nobody holds it
    assert await other.get_or_load("k", load, kind=Kind(lease="100ms", wait="60s")) == 1
    assert now.get("k").startswith(b"!i1 V")
    for each in (cache, other):
        await each.close()


async def test_a_cancelled_load_of_many_leaves_no_cooldown(server: RedisServer) -> None:
    cache, loads = Cache.from_url(server.url, kinds=KINDS), 0
    slow = Kind(cooldown="1h", lease="1h", wait="1h")

    async def load(part: dict[str, int]) -> dict[str, int]:
        nonlocal loads
        loads += 1
        if loads == 1:
            await asyncio.Event().wait()
        return part

    read = asyncio.create_task(cache.get_many({"a": 1}, load, kind=slow))
    await until(lambda: loads)
    read.cancel()
    await asyncio.wait([read])
    async with asyncio.timeout(60):
        assert await cache.get_many({"a": 1}, load, kind=slow) == {"a": 1}
    await cache.close()


async def test_a_stamp_outlives_an_entry_that_outlives_its_kind(caller: Caller, now: Any) -> None:
    row = Loaded(1, ttl="24h", tags=["t"])
    await caller.read("k", lambda: row, tags=["t"])
    await caller.call("get_many", {"m": 1}, caller.many(lambda _: {"m": row}), tags=["t"])
    assert now.ttl("invalidator:stamp:t") >= now.ttl("shop:k") > 86_000


async def test_a_writer_that_is_cancelled_after_its_commit_drops_or_fills(
    server: RedisServer, now: Any
) -> None:
    cache, sent = Cache.from_url(server.url, kinds=KINDS), asyncio.Event()
    send = cache.driver._server.send

    async def send_slowly(commands: Any) -> Any:
        if commands[0][1] == FINISH.sha:
            sent.set()
            await asyncio.sleep(0.05)
        return await send(commands)

    async def load(_: object) -> int:
        return 1

    async def write() -> None:
        async with cache.writing("k") as writing:
            writing.value = 2

    await cache.get_or_load("k", load)
    cache.driver._server.send = send_slowly  # type: ignore[method-assign]
    writer = asyncio.create_task(write())
    await sent.wait()
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    await until(lambda: now.get("k")[-1:] == b"2")
    await cache.close()
