"""The pools of `from_url`: connections that Redis closed, and processes that fork."""

import subprocess
import sys
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

from invalidator.cache import SyncCache
from invalidator.cache.pool import LeanPool
from tests.backends import until
from tests.backends.redis_server import RedisServer
from tests.integration.cache.conftest import KINDS, Caller


async def test_a_connection_that_redis_closed_is_replaced(caller: Caller, now: Any) -> None:
    async def is_hit() -> bool:
        hits = caller.stats.hits
        assert await caller.read("k", lambda: 1) == 1
        return caller.stats.hits > hits

    for _ in range(3):
        await until(is_hit)
        now.client_kill_filter(_type="normal", skipme=True)
    await until(is_hit)
    if isinstance(caller.cache, SyncCache):  # a loop hears of it after its next command
        assert (caller.stats.loads, caller.stats.bypassed) == (1, 0)


def test_a_connection_with_a_reply_that_nobody_read_is_replaced(server: RedisServer) -> None:
    cache = SyncCache.from_url(server.url, kinds=KINDS)
    assert cache.get_or_load("k", lambda _: 1) == 1
    pool = cache._client.connection_pool
    connection = pool.get_connection()
    connection.send_command("PING")
    assert connection.can_read(timeout=60)
    pool.release(connection)
    assert cache.peek("k") == 1
    cache.close()


def test_who_gets_no_connection_is_told(server: RedisServer) -> None:
    pool = LeanPool.from_url(server.url, max_connections=1, timeout=0.01)
    connection = pool.get_connection()
    with pytest.raises(NoConnection, match="No connection available"):
        pool.get_connection()
    pool.release(connection)
    assert Redis.from_pool(pool).ping()


FORK = """
import os, sys
from invalidator.cache import SyncCache

cache = SyncCache.from_url(sys.argv[1])
for n in range(100):
    cache.get_or_load(f"k{n}", lambda _: n)
children = []
for _ in range(4):
    if not (child := os.fork()):
        break
    children.append(child)
mine = len(children)
for turn in range(500):
    n = (turn * 7 + mine) % 100
    assert cache.peek(f"k{n}") == n
assert not cache.stats.bypassed and not cache.breaker.failures
for child in children if mine == 4 else ():
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
os._exit(0)
"""


def test_a_fork_has_connections_of_its_own(server: RedisServer) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, server.url], timeout=60)
    assert done.returncode == 0
