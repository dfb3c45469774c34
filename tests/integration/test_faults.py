"""Each kind of refusal, produced by a real redis-server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from random import Random
from typing import Any

import pytest

from invalidator.redisclient import Client, Command, Reply, client, converse
from invalidator.redisclient.errors import Meaning, Verdict, diagnose
from tests.backends import until
from tests.backends.redis_server import RedisServer
from tests.backends.server import free_port
from tests.conftest import StartRedis
from tests.faults.proxy import Proxy

INCR = "return redis.call('INCR', KEYS[1])"


@pytest.fixture
def server(start_redis: StartRedis) -> RedisServer:
    return start_redis(config={"busy-reply-threshold": "20"})


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Client]:
    async with client(server.url, 2.0) as connected:
        yield connected


async def ask(server: Client, *command: str | int) -> Reply:
    (reply,) = await converse(server, [command])
    if isinstance(reply, Exception):
        raise reply
    return reply


async def verdict(command: Awaitable[Any]) -> Verdict:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any: its verdict is what is tested
        await command
    return diagnose(caught.value)


async def expect(code: str, meaning: Meaning, *commands: Awaitable[Any]) -> None:
    for command in commands:
        found = await verdict(command)
        assert (found.code, found.meaning) == (code, meaning), found


async def test_a_replica_is_unavailable_for_writes(redis: Client) -> None:
    await ask(redis, "REPLICAOF", "127.0.0.1", "1")
    refused = ask(redis, "UNLINK", "a"), ask(redis, "EVAL", INCR, 1, "a")
    await expect("readonly", Meaning.UNAVAILABLE, *refused)
    await ask(redis, "CONFIG", "SET", "replica-serve-stale-data", "no")
    await expect("masterdown", Meaning.UNAVAILABLE, ask(redis, "GET", "a"))


async def test_a_full_server_is_unavailable(redis: Client) -> None:
    await ask(redis, "CONFIG", "SET", "maxmemory", 1)
    refused = ask(redis, "INCR", "a"), ask(redis, "EVAL", INCR, 1, "a")
    await expect("oom", Meaning.UNAVAILABLE, *refused)


async def test_a_server_busy_with_a_script_is_unavailable(
    server: RedisServer, redis: Client
) -> None:
    async def until_it_fails() -> None:
        while True:
            await ask(redis, "UNLINK", "a")

    async with client(server.url, 2.0) as other, asyncio.timeout(60):
        loop = asyncio.create_task(ask(other, "EVAL", "while true do end", 0))
        await expect("busy", Meaning.UNAVAILABLE, until_it_fails())
        await ask(redis, "SCRIPT", "KILL")
        await expect("refused", Meaning.UNAVAILABLE, loop)


async def test_a_server_that_cannot_save_is_unavailable(server: RedisServer, redis: Client) -> None:
    await ask(redis, "SET", "a", "1")
    await ask(redis, "CONFIG", "SET", "save", "3600 1")
    (server.directory / "dump.rdb").mkdir()  # so that the snapshot cannot take its place
    await ask(redis, "BGSAVE")

    async def failed() -> bool:
        return b"rdb_last_bgsave_status:err" in await ask(redis, "INFO", "persistence")

    await until(failed)
    refused = ask(redis, "UNLINK", "a"), ask(redis, "EVAL", INCR, 1, "a")
    await expect("misconf", Meaning.UNAVAILABLE, *refused)


async def test_a_primary_without_enough_replicas_is_unavailable(redis: Client) -> None:
    await ask(redis, "CONFIG", "SET", "min-replicas-to-write", 1)
    refused = ask(redis, "UNLINK", "a"), ask(redis, "EVAL", INCR, 1, "a")
    await expect("noreplicas", Meaning.UNAVAILABLE, *refused)


async def test_a_server_that_asks_for_a_password_is_unavailable(
    server: RedisServer, redis: Client
) -> None:
    await ask(redis, "CONFIG", "SET", "requirepass", "secret")
    wrong_password = f"redis://:wrong@{server.address}"
    async with client(server.url, 2.0) as without, client(wrong_password, 2.0) as wrong:
        refused = ask(without, "GET", "a"), ask(wrong, "GET", "a")
        await expect("noauth", Meaning.UNAVAILABLE, *refused)


async def test_a_forbidden_key_is_permanent_and_a_forbidden_command_is_not(
    server: RedisServer, redis: Client
) -> None:
    user = ("u", "on", ">p", "~ok:*", "-@all", "+unlink", "+eval", "+incr", "+client|setname")
    await ask(redis, "ACL", "SETUSER", *user)
    async with client(f"redis://u:p@{server.address}", 2.0) as limited:
        await expect(
            "noperm",
            Meaning.PERMANENT,
            ask(limited, "UNLINK", "ok:1", "bad"),
            ask(limited, "EVAL", INCR, 1, "bad"),
            ask(limited, "EVAL", "return redis.call('INCR', 'bad')", 0),
        )
        await expect(
            "noperm",
            Meaning.UNAVAILABLE,
            ask(limited, "SET", "ok:1", "1"),
            ask(limited, "EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "ok:1"),
        )


async def test_a_renamed_command_is_unavailable(start_redis: StartRedis) -> None:
    server = start_redis(config={"rename-command": 'UNLINK ""'})
    async with client(server.url, 2.0) as redis:
        script = "return redis.call('UNLINK', KEYS[1])"
        refused = ask(redis, "UNLINK", "a"), ask(redis, "EVAL", script, 1, "a")
        await expect("refused", Meaning.UNAVAILABLE, *refused)


async def test_the_wrong_type_is_permanent_also_in_a_script(redis: Client) -> None:
    await ask(redis, "SET", "a", "1")
    script = "return redis.call('SMEMBERS', KEYS[1])"
    refused = ask(redis, "SMEMBERS", "a"), ask(redis, "EVAL", script, 1, "a")
    await expect("wrongtype", Meaning.PERMANENT, *refused)


async def test_a_lost_script_is_told_apart(redis: Client) -> None:
    await expect("noscript", Meaning.NOSCRIPT, ask(redis, "EVALSHA", "a" * 40, 0))


async def test_errors_among_the_replies_of_one_write_mean_the_same(redis: Client) -> None:
    await ask(redis, "SET", "a", "1")
    commands: list[Command] = [("SADD", "a", "x"), ("EVALSHA", "a" * 40, 0)]
    found = [diagnose(reply) for reply in await converse(redis, commands)]
    assert [each.meaning for each in found] == [Meaning.PERMANENT, Meaning.NOSCRIPT]


async def test_a_frozen_server_is_unavailable(server: RedisServer) -> None:
    async with client(server.url, 0.2) as redis:
        await ask(redis, "SET", "a", "1")
        server.freeze()
        await expect("timeout", Meaning.UNAVAILABLE, ask(redis, "UNLINK", "a"))


async def test_a_half_open_link_is_unavailable_and_left(server: RedisServer) -> None:
    with Proxy(server.port, Random(1)) as link:
        async with client(f"redis://{link.address}", 0.3) as redis:
            await ask(redis, "SET", "a", "1")
            link.silent = True
            await expect("timeout", Meaning.UNAVAILABLE, ask(redis, "UNLINK", "a"))
            link.heal()
            assert await ask(redis, "EXISTS", "b") == 0


async def test_an_answer_that_comes_too_late_is_not_taken_for_that_of_the_next_command(
    server: RedisServer,
) -> None:
    with Proxy(server.port, Random(1)) as link:
        async with client(f"redis://{link.address}", 0.3) as redis:
            await ask(redis, "SET", "a", "1")
            link.delay = 0.5
            await expect("timeout", Meaning.UNAVAILABLE, ask(redis, "GET", "a"))
            link.delay = 0.0
            assert [await ask(redis, "ECHO", text) for text in "xyz"] == [b"x", b"y", b"z"]


async def test_a_cluster_that_lacks_a_slot_is_unavailable(start_redis: StartRedis) -> None:
    server = start_redis(config={"cluster-enabled": "yes", "cluster-port": str(free_port())})
    async with client(server.url, 2.0) as redis:
        await expect("clusterdown", Meaning.UNAVAILABLE, ask(redis, "UNLINK", "a"))
    async with client(server.url.replace("redis:", "redis+cluster:"), 2.0) as redis:
        await expect("cluster", Meaning.UNAVAILABLE, ask(redis, "UNLINK", "a"))


async def test_a_dead_server_is_unavailable(server: RedisServer, redis: Client) -> None:
    await ask(redis, "SET", "a", "1")
    server.kill()
    refused = ask(redis, "UNLINK", "a"), ask(redis, "UNLINK", "a")
    await expect("connection", Meaning.UNAVAILABLE, *refused)


async def test_a_server_that_loads_its_snapshot_is_unavailable(
    server: RedisServer, redis: Client
) -> None:
    await ask(redis, "EVAL", "for i = 1, 20000 do redis.call('SET', i, i) end", 0)
    await ask(redis, "SAVE")
    server.kill()
    server.config |= {"key-load-delay": "500", "loading-process-events-interval-bytes": "1024"}
    server.launch()

    async def listens() -> bool:
        return (await verdict(ask(redis, "UNLINK", "a"))).code != "connection"

    await until(listens)
    await expect("loading", Meaning.UNAVAILABLE, ask(redis, "UNLINK", "a"))
