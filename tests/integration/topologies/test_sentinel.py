"""A primary that sentinels watch: found, lost, and found again."""

import asyncio
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from invalidator.redisclient import Client, Command, client, converse
from tests.backends import until
from tests.backends.redis_sentinel import SERVICE, Sentinel
from tests.backends.waiting import LIMIT
from tests.conftest import StartRedis, StartSentinel
from tests.integration.piping import RULES, looking, order, piping, rules_from, run


async def ask(redis: Client, *command: str | bytes | int) -> object:
    words: Command = command
    (reply,) = await converse(redis, [words])
    if isinstance(reply, Exception):
        raise reply
    return reply


async def test_the_primary_is_found_though_a_sentinel_is_frozen_and_another_gone(
    start_sentinel: StartSentinel,
) -> None:
    watched = start_sentinel()
    watched.sentinels[0].freeze()
    watched.sentinels[1].kill()
    async with client(watched.url, 2 * LIMIT) as redis, asyncio.timeout(LIMIT):
        assert await ask(redis, "SET", "a", "1") == b"OK"  # the frozen one is not waited for
    with looking(watched.primary.url) as now:
        assert now.get("a") == b"1"
    watched.sentinels[2].kill()
    async with client(watched.url, 0.5) as redis, asyncio.timeout(LIMIT):
        with pytest.raises(RedisError, match="no sentinel knows where main is") as refused:
            await ask(redis, "PING")
        assert watched.sentinels[0].address in str(refused.value)


@pytest.mark.parametrize("how", ["kill", pytest.param("freeze", marks=pytest.mark.slow)])
async def test_a_failover_is_followed_and_nothing_is_acknowledged_meanwhile(
    start_sentinel: StartSentinel, tmp_path: Path, how: str
) -> None:
    watched = start_sentinel()
    with looking(watched.primary.url) as now:
        now.set("order:single:o1", "cached")
    async with piping(rules_from(RULES, tmp_path), watched.url) as bench:
        bench.source.publish(order(1))
        await until(lambda: bench.source.settled == 1)
        with looking(watched.replica.url) as replica:
            await until(lambda: not replica.exists("order:single:o1"))
        getattr(watched.primary, how)()
        bench.source.publish(order(2))
        await until(lambda: bench.health.part("redis").reason)
        assert bench.source.settled == 1
        await until(lambda: bench.source.settled == 2)
        assert not bench.health.part("redis").reason


async def test_a_primary_that_was_demoted_is_left(start_sentinel: StartSentinel) -> None:
    watched = start_sentinel()
    async with client(watched.url, 1.0) as redis:
        await ask(redis, "SET", "a", "1")
        await ask(redis, "SET", "b", "1")
        with looking(watched.sentinels[0].url) as sentinel:
            run(sentinel, "SENTINEL", "FAILOVER", SERVICE)

        async def on_the_other() -> bool:
            try:
                await ask(redis, "SET", "c", "1")
            except RedisError:
                return False
            with looking(watched.replica.url) as now:
                return now.exists("c") == 1

        await until(on_the_other)


async def test_what_is_no_primary_is_not_written_to(start_redis: StartRedis) -> None:
    """Sentinels may be behind: whom they name is asked first."""
    primary = start_redis()
    replica = start_redis(config={"replicaof": f"127.0.0.1 {primary.port}"})
    with Sentinel(replica) as behind:
        url = f"redis+sentinel://{behind.address}/{SERVICE}"
        async with client(url, 1.0) as redis:
            with pytest.raises(RedisError, match=f"name {replica.address}, which is a slave"):
                await ask(redis, "SET", "a", "1")


async def test_a_server_that_is_no_sentinel_and_a_service_that_none_knows_say_so(
    start_redis: StartRedis,
) -> None:
    primary = start_redis()
    async with client(f"redis+sentinel://{primary.address}/{SERVICE}", 1.0) as redis:
        with pytest.raises(RedisError, match="is no sentinel; for a Redis server, write redis://"):
            await ask(redis, "PING")
    with Sentinel(primary) as sentinel:
        async with client(f"redis+sentinel://{sentinel.address}/other", 1.0) as redis:
            with pytest.raises(RedisError, match="knows no service named other"):
                await ask(redis, "PING")
