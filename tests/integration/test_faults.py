"""Each kind of refusal, produced by a real redis-server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from invalidator.faults import Meaning, Verdict, diagnose
from invalidator.store.wire import Command, pipelined, send
from tests.integration.local_redis import LocalRedis, local_redis

INCR = "return redis.call('INCR', KEYS[1])"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LocalRedis]:
    with local_redis("--busy-reply-threshold", "20", directory=str(tmp_path)) as started:
        yield started


@pytest.fixture
async def client(server: LocalRedis) -> AsyncIterator[Redis]:
    async with server.client() as connected:
        yield connected


async def verdict(command: Awaitable[Any]) -> Verdict:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any: its verdict is what is tested
        await command
    return diagnose(caught.value)


async def until_it_fails(client: Redis) -> None:
    async with asyncio.timeout(5):
        while True:
            await client.unlink("a")


async def expect(code: str, meaning: Meaning, *commands: Awaitable[Any]) -> None:
    for command in commands:
        found = await verdict(command)
        assert (found.code, found.meaning) == (code, meaning), found


async def test_a_replica_is_unavailable_for_writes(client: Redis) -> None:
    await send(client, "REPLICAOF", "127.0.0.1", "1")
    refused = client.unlink("a"), client.eval(INCR, 1, "a")
    await expect("readonly", Meaning.UNAVAILABLE, *refused)
    await client.config_set("replica-serve-stale-data", "no")
    await expect("masterdown", Meaning.UNAVAILABLE, client.get("a"))


async def test_a_full_server_is_unavailable(client: Redis) -> None:
    await client.config_set("maxmemory", 1)
    await expect("oom", Meaning.UNAVAILABLE, client.incr("a"), client.eval(INCR, 1, "a"))


async def test_a_server_busy_with_a_script_is_unavailable(
    server: LocalRedis, client: Redis
) -> None:
    async with server.client() as other:
        loop = asyncio.create_task(send(other, "EVAL", "while true do end", 0))
        await expect("busy", Meaning.UNAVAILABLE, until_it_fails(client))
        await client.script_kill()
        await expect("refused", Meaning.UNAVAILABLE, loop)


async def test_a_server_that_cannot_save_is_unavailable(client: Redis, tmp_path: Path) -> None:
    await client.set("a", "1")
    await client.config_set("save", "3600 1")
    (tmp_path / "dump.rdb").mkdir()  # a directory in its place: the snapshot cannot be renamed
    await client.bgsave()
    async with asyncio.timeout(5):
        while (await client.info("persistence"))["rdb_last_bgsave_status"] != "err":
            pass
    await expect("misconf", Meaning.UNAVAILABLE, client.unlink("a"), client.eval(INCR, 1, "a"))


async def test_a_primary_without_enough_replicas_is_unavailable(client: Redis) -> None:
    await client.config_set("min-replicas-to-write", 1)
    refused = client.unlink("a"), client.eval(INCR, 1, "a")
    await expect("noreplicas", Meaning.UNAVAILABLE, *refused)


async def test_a_server_that_asks_for_a_password_is_unavailable(
    server: LocalRedis, client: Redis
) -> None:
    await client.config_set("requirepass", "secret")
    async with server.client() as without, server.client(password="wrong") as wrong:
        await expect("noauth", Meaning.UNAVAILABLE, without.get("a"), wrong.get("a"))


async def test_a_forbidden_key_is_permanent_and_a_forbidden_command_is_not(
    server: LocalRedis, client: Redis
) -> None:
    user = ("u", "on", ">p", "~ok:*", "-@all", "+unlink", "+eval", "+incr")
    await send(client, "ACL", "SETUSER", *user)
    async with server.client(username="u", password="p") as limited:
        forbidden = "return redis.call('INCR', 'bad')"
        await expect(
            "noperm",
            Meaning.PERMANENT,
            limited.unlink("ok:1", "bad"),
            limited.eval(INCR, 1, "bad"),
            limited.eval(forbidden, 0),
        )
        await expect(
            "noperm",
            Meaning.UNAVAILABLE,
            limited.set("ok:1", "1"),
            limited.eval("return redis.call('SET', KEYS[1], 1)", 1, "ok:1"),
        )


async def test_a_renamed_command_is_unavailable() -> None:
    with local_redis("--rename-command", "UNLINK", "''") as server:
        async with server.client() as client:
            script = "return redis.call('UNLINK', KEYS[1])"
            refused = client.unlink("a"), client.eval(script, 1, "a")
            await expect("refused", Meaning.UNAVAILABLE, *refused)


async def test_the_wrong_type_is_permanent_also_in_a_script(client: Redis) -> None:
    await client.set("a", "1")
    script = "return redis.call('SMEMBERS', KEYS[1])"
    refused = client.smembers("a"), client.eval(script, 1, "a")
    await expect("wrongtype", Meaning.PERMANENT, *refused)


async def test_a_lost_script_is_told_apart(client: Redis) -> None:
    await expect("noscript", Meaning.NOSCRIPT, client.evalsha("a" * 40, 0))


async def test_errors_inside_a_pipelines_results_mean_the_same(client: Redis) -> None:
    await client.set("a", "1")
    commands: list[Command] = [("SADD", "a", "x"), ("EVALSHA", "a" * 40, 0)]
    found = [diagnose(reply) for reply in await pipelined(client, commands)]
    assert [each.meaning for each in found] == [Meaning.PERMANENT, Meaning.NOSCRIPT]


async def test_a_frozen_server_is_unavailable(server: LocalRedis) -> None:
    async with server.client(socket_timeout=0.2) as client:
        await client.set("a", "1")
        server.freeze()
        await expect("timeout", Meaning.UNAVAILABLE, client.unlink("a"))


async def test_a_dead_server_is_unavailable(server: LocalRedis) -> None:
    async with server.client() as client:
        await client.set("a", "1")
        server.kill()
        await expect("connection", Meaning.UNAVAILABLE, client.unlink("a"), client.unlink("a"))


async def test_a_server_that_loads_its_snapshot_is_unavailable(tmp_path: Path) -> None:
    with local_redis(directory=str(tmp_path)) as server:
        async with server.client() as client:
            await client.eval("for i = 1, 20000 do redis.call('SET', i, i) end", 0)
            await client.save()
    slowly = "--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"
    with local_redis(*slowly, directory=str(tmp_path)) as server:
        async with server.client() as client:
            await expect("loading", Meaning.UNAVAILABLE, client.unlink("a"))
