"""Tags on servers that refuse a part of what takes them away."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
import redis

from invalidator.errors import Unavailable
from invalidator.redisclient import client
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Server
from invalidator.targets.redis.keys import Keys
from invalidator.targets.redis.tags import Tags
from tests.conftest import StartRedis
from tests.integration.store.test_tags import SET, left, put, tags_of


@pytest.mark.parametrize("command", ["hset", "persist", "sadd"])
async def test_a_tag_that_may_not_be_noted_is_never_taken_for_absent(
    start_redis: StartRedis, command: str
) -> None:
    limited = start_redis()
    with redis.Redis(port=limited.port) as now:
        now.acl_setuser(
            "limited", True, passwords=["+pw"], categories=["+@all"], commands=[f"-{command}"],
            keys=["*"],
        )  # fmt: skip
        put(now, "tag:a", "k1", "k2")
        async with client(f"redis://limited:pw@{limited.address}/0", 2.0) as connected:
            tags = tags_of(Server(connected, "cache"))
            for _ in range(3):
                with contextlib.suppress(Unavailable):
                    await tags.consume(["a"])
                    assert left(now) == set()
            now.acl_setuser("limited", categories=["+@all"])
            await tags.consume(["a"])
        assert left(now) == set()


async def test_without_permission_for_our_own_keys_the_server_is_unavailable(
    start_redis: StartRedis,
) -> None:
    limited = start_redis()
    with redis.Redis(port=limited.port) as now:
        now.acl_setuser(
            "limited", True, passwords=["+pw"], categories=["+@all"], keys=["tag:*", "k*"]
        )
        put(now, "tag:a", "k1")
        async with client(f"redis://limited:pw@{limited.address}/0", 2.0) as connected:
            with pytest.raises(Unavailable, match="permissions"):
                await tags_of(Server(connected, "cache")).consume(["a"])
        assert left(now) == {b"tag:a", b"k1"}


async def test_a_note_that_somebody_elses_value_forbids_leaves_the_tag_where_it_is(
    server: Server, redis_now: "redis.Redis"
) -> None:
    put(redis_now, "tag:a", "k1")
    put(redis_now, "tag:b", "k2")
    redis_now.pexpire("tag:a", 60_000)
    redis_now.set("invalidator:work:{tag:a}:tag:a", "not ours")
    failed = (await tags_of(server).consume(["a", "b"])).failed
    assert {tag: verdict.code for tag, verdict in failed.items()} == {"a": "wrongtype"}
    assert redis_now.pttl("tag:a") > 0
    redis_now.delete("invalidator:work:{tag:a}:tag:a")
    assert (await tags_of(server).consume(["a"])).failed == {}
    assert left(redis_now) == set()


async def test_a_tag_that_a_replica_does_not_have_is_not_taken_for_absent(
    start_redis: StartRedis,
) -> None:
    primary, other = start_redis(), start_redis()
    async with client(primary.url, 2.0) as connected:
        tags = tags_of(Server(connected, "cache"))
        await tags.consume(["a"])
        with redis.Redis(port=primary.port) as now:
            now.replicaof("127.0.0.1", other.port)
        with pytest.raises(Unavailable, match="read only replica"):
            await tags.consume(["a"])


async def test_a_server_that_tells_no_run_id_is_read_to_the_end(
    server: Server, redis_now: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    put(redis_now, "tag:a", *(f"k{number}" for number in range(3000)))
    monkeypatch.setattr("invalidator.targets.redis.tag_work.run_id", lambda info: b"")
    async with asyncio.timeout(60):
        assert (await tags_of(server).consume(["a"])).existed == 3000
    assert left(redis_now) == set()


async def test_a_member_that_cannot_be_recovered_fails_the_event_that_comes_again(
    start_redis: StartRedis,
) -> None:
    limited = start_redis()
    with redis.Redis(port=limited.port) as now:
        mine = ["tag:*", "invalidator:*", "mine:*"]
        now.acl_setuser("limited", True, passwords=["+pw"], categories=["+@all"], keys=mine)
        put(now, "tag:a", "mine:1", "other:2")
        async with client(f"redis://limited:pw@{limited.address}/0", 2.0) as connected:

            async def crash(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
                raise Unavailable("cache", "is gone")

            server = Server(connected, "cache")
            with pytest.raises(Unavailable):
                await Tags(server, [SET], crash).consume(["a"])
            tags = tags_of(server)
            await Keys(server).unlink(["mine:0"])
            assert len((await tags.recover()).failed) == 1
            assert not now.exists("mine:1")
            failed = (await tags.consume(["a"])).failed
            assert {tag: verdict.code for tag, verdict in failed.items()} == {"a": "noperm"}
            assert left(now) == {b"other:2"}
