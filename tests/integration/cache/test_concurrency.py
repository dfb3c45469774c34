"""Many readers at once: one load, for all who may share it."""

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from invalidator.cache import Cache, SyncCache
from tests.backends import until, until_sync
from tests.backends.redis_server import RedisServer
from tests.backends.waiting import turn
from tests.integration.cache.conftest import KINDS, Caller


@pytest.fixture
async def cache(server: RedisServer) -> Any:
    made = Cache.from_url(server.url, kinds=KINDS)
    yield made
    await made.close()


class Gate:
    """A loader that waits until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.loads = 0

    async def load(self, _: object) -> int:
        self.loads += 1
        await self.open.wait()
        return self.loads


async def test_readers_of_one_process_share_a_load(cache: Cache) -> None:
    gate = Gate()
    reads = [asyncio.create_task(cache.get_or_load("k", gate.load)) for _ in range(50)]
    await until(lambda: cache.stats.shared == 49)
    gate.open.set()
    assert await asyncio.gather(*reads) == [1] * 50


async def test_a_load_that_began_before_an_invalidation_is_not_shared_after_it(
    cache: Cache,
) -> None:
    for invalidate in (cache.invalidate("k"), cache.invalidate_tags("t"), cache.bump("v")):
        gate = Gate()
        early = asyncio.create_task(_read(cache, gate))
        await until(lambda: gate.loads == 1)  # noqa: B023
        await invalidate
        late = asyncio.create_task(_read(cache, gate))
        await until(lambda: gate.loads == 2)  # noqa: B023
        gate.open.set()
        assert (await early, await late) == (2, 2)
        await cache.invalidate("k")


async def _read(cache: Cache, gate: Gate) -> int:
    return await cache.get_or_load("k", gate.load, kind="brief", tags=["t"], versions=["v"])


async def test_followers_of_a_failed_load_get_its_error(cache: Cache) -> None:
    opened = asyncio.Event()

    async def fail(_: object) -> int:
        await opened.wait()
        raise OSError("down")

    reads = [asyncio.create_task(cache.get_or_load("k", fail)) for _ in range(10)]
    await until(lambda: cache.stats.shared == 9)
    opened.set()
    errors = await asyncio.gather(*reads, return_exceptions=True)
    assert [str(error) for error in errors] == ["down"] * 10
    assert cache.stats.loads == 1


async def test_a_reader_that_gives_up_does_not_fail_those_who_wait(cache: Cache) -> None:
    gate = Gate()
    leader = asyncio.create_task(cache.get_or_load("k", gate.load))
    await until(lambda: gate.loads == 1)
    followers = [asyncio.create_task(cache.get_or_load("k", gate.load)) for _ in range(3)]
    await until(lambda: cache.stats.shared == 3)
    leader.cancel()
    followers.pop().cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    gate.open.set()
    assert await asyncio.gather(*followers) == [1, 1]
    assert gate.loads == 1


async def test_a_load_that_nobody_waits_for_ends_and_frees_its_lease(cache: Cache) -> None:
    gate = Gate()
    alone = asyncio.create_task(cache.get_or_load("k", gate.load))
    await until(lambda: gate.loads == 1)
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
    gate.open.set()
    began = time.monotonic()
    assert await cache.get_or_load("k", gate.load) == 2
    assert time.monotonic() - began < 1.0  # the lease is of two seconds


async def test_cancelled_commands_leave_no_reply_behind(cache: Cache) -> None:
    async def load(_: object) -> str:
        return "right"

    await cache.get_or_load("k", load)

    async def wrong(_: object) -> str:
        return "wrong"

    await cache.get_or_load("other", wrong)
    for pause in range(200):
        read = asyncio.create_task(cache.get_or_load("other", wrong))
        for _ in range(pause % 20):
            await turn()
        read.cancel()
        assert await cache.get_or_load("k", load) == "right"


async def test_a_reader_waits_for_another_process_and_then_loads_for_itself(
    cache: Cache, server: RedisServer
) -> None:
    other, gate = Cache.from_url(server.url, kinds=KINDS), Gate()
    slow = asyncio.create_task(other.get_or_load("k", gate.load))
    await until(lambda: gate.loads == 1)

    async def load(_: object) -> str:
        return "alone"

    waiting = asyncio.create_task(cache.get_or_load("k", load))
    await until(lambda: cache.stats.waits == 1)
    gate.open.set()
    results: list[object] = [await waiting, await slow]
    assert results == [1, 1]
    gate.open.clear()
    await cache.invalidate("k")
    slow = asyncio.create_task(other.get_or_load("k", gate.load))
    await until(lambda: gate.loads == 2)
    assert await cache.get_or_load("k", load, kind="brief") == "alone"
    assert cache.stats.alone == 1
    gate.open.set()
    assert await slow == 2
    await other.close()


async def test_another_loads_after_a_lease_has_run_out(caller: Caller, now: Any) -> None:
    lease = b"L" * 16 + b" %013d" % int(1000 * time.time() + 100)
    head = b"!i1 L-- 0000 " + b"-" * 16 + b" " + lease
    now.set("shop:k", head + b" 0000000000000 0000000000000000 000000\n")
    assert await caller.read("k", lambda: 1) == 1
    assert now.get("shop:k").startswith(b"!i1 V")


def test_threads_share_a_load(server: RedisServer) -> None:
    cache, opened, loads = SyncCache.from_url(server.url, kinds=KINDS), threading.Event(), []

    def load(_: object) -> int:
        loads.append(1)
        opened.wait(60)
        return len(loads)

    with ThreadPoolExecutor(20) as threads:
        reads = [threads.submit(cache.get_or_load, "k", load) for _ in range(20)]
        until_sync(lambda: cache.stats.shared + cache.stats.waits == 19)
        opened.set()
        assert [read.result() for read in reads] == [1] * 20
    cache.close()


HERD = """
import asyncio, sys
import redis.asyncio
from invalidator.cache import Cache

async def main(url, readers):
    client = redis.asyncio.Redis.from_url(url, socket_timeout=30)  # on a busy machine
    cache = Cache(client)

    async def load(_):
        await client.incr("loads")
        await asyncio.sleep(0.3)
        return "row"

    await cache.get_or_load("ready", load)
    await client.incr("readers")
    sys.stdin.readline()
    reads = (cache.get_or_load("herd", load, tags=["t"]) for _ in range(readers))
    assert set(await asyncio.gather(*reads)) == {"row"}
    await cache.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_a_thousand_readers_in_ten_processes_make_one_load(server: RedisServer, now: Any) -> None:
    command = [sys.executable, "-c", HERD, server.url, "100"]
    herd = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(10)]
    try:
        until_sync(lambda: now.get("readers") == b"10")
        now.set("loads", 0)
        for each in herd:
            assert each.stdin is not None
            each.stdin.close()  # all begin
        assert [each.wait(timeout=60) for each in herd] == [0] * 10
        assert now.get("loads") == b"1"
    finally:
        for each in herd:
            each.kill()
            each.wait()
