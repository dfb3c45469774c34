"""Commands find their way in a cluster of three primaries, also while its slots move."""

import asyncio

import pytest
from redis.crc import key_slot
from redis.exceptions import RedisError

from invalidator.errors import Unavailable
from invalidator.redisclient import Cluster, Command, client, converse
from invalidator.redisclient.server import Server
from invalidator.targets.redis.keys import Keys
from tests.backends import until
from tests.backends.redis_cluster import RedisCluster
from tests.conftest import StartRedis

KEYS = [f"order:single:o{n}" for n in range(2000)]


async def test_keys_are_deleted_wherever_they_are_and_counted(cluster: RedisCluster) -> None:
    cluster.put(KEYS)
    async with client(cluster.url, 2.0) as redis:
        assert await Keys(Server(redis, "cache")).unlink(KEYS) == (2000, {})
        assert await Keys(Server(redis, "cache")).unlink([key.encode() for key in KEYS]) == (0, {})
    assert cluster.keys() == 0


async def test_replies_come_in_the_order_of_the_commands(cluster: RedisCluster) -> None:
    async with client(cluster.url, 2.0) as redis:
        assert await converse(redis, [("SET", key, key) for key in KEYS]) == [b"OK"] * 2000
        assert await converse(redis, [("GET", key) for key in KEYS]) == [k.encode() for k in KEYS]
        together: Command = ("MGET", "{a}1", "a", "{a}2")
        wrong: Command = ("MGET", "a", "b")
        found, refused = await converse(redis, [together, wrong])
        assert found == [None, None, None]
        assert "CROSSSLOT" in str(refused.status_code)


@pytest.mark.parametrize("idle", [1, 2, 4, 6])
async def test_keys_of_a_slot_on_its_way_are_deleted_on_either_side(
    cluster: RedisCluster, idle: int
) -> None:
    keys = [f"{{a}}:{n}" for n in range(100)]
    slot, source = key_slot(b"a"), cluster.owner("{a}")
    target = (source + 1) % 3
    cluster.put(keys[:80])  # the others never were there
    async with client(cluster.url, 2.0) as redis:
        await asyncio.gather(*(converse(redis, [("GET", "{a}")]) for _ in range(idle)))
        cluster.open_slot(slot, source, target)
        for key in keys[:40]:
            cluster.carry(key, source, target)
        try:
            assert await Keys(Server(redis, "cache")).unlink(keys) == (80, {})
            assert await Keys(Server(redis, "cache")).unlink(keys) == (0, {})
        finally:
            cluster.close_slot(slot, source)
    assert cluster.keys() == 0


async def test_a_slot_that_moved_is_followed(cluster: RedisCluster) -> None:
    slot, source = key_slot(b"a"), cluster.owner("{a}")
    target = (source + 1) % 3
    async with client(cluster.url, 2.0) as redis:
        assert await converse(redis, [("SET", "{a}:1", "x"), ("SET", "b", "x")]) == [b"OK", b"OK"]
        cluster.move_slot(slot, source, target)
        try:
            assert await Keys(Server(redis, "cache")).unlink(["{a}:1", "b"]) == (2, {})
            assert isinstance(redis, Cluster)
            await until(lambda: _knows(redis, cluster, target))
        finally:
            cluster.move_slot(slot, target, source)


async def _knows(redis: Cluster, cluster: RedisCluster, owner: int) -> bool:
    redis.outdated()
    return await redis.owners([b"{a}"]) == {b"{a}": cluster.servers[owner].address}


async def test_a_server_that_is_no_cluster_says_what_to_write(start_redis: StartRedis) -> None:
    server = start_redis()
    async with client(f"redis+cluster://{server.address}", 2.0) as redis:
        with pytest.raises(RedisError, match="is no cluster; write redis:// in place of"):
            await converse(redis, [("PING",)])


async def test_a_node_of_a_cluster_addressed_alone_says_what_to_write(
    cluster: RedisCluster,
) -> None:
    async with client(cluster.servers[0].url, 2.0) as redis:
        with pytest.raises(Unavailable, match=r"is one node of a cluster.*redis[+]cluster://"):
            await Keys(Server(redis, "cache")).unlink(KEYS)
