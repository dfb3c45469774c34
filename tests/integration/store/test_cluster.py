"""Sweeps and tags on a real cluster of three primaries."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.crc import key_slot

from invalidator.errors import Unavailable
from invalidator.redisclient import Client, Cluster, client
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Server
from invalidator.runtime.health import Part
from invalidator.targets.redis.apply import Versions
from invalidator.targets.redis.keys import Keys, NodeKeys
from invalidator.targets.redis.moved import look
from invalidator.targets.redis.patterns import protected
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.tags import ClusterTags, Layout, Tags
from invalidator.targets.redis.walk import Node, Pace
from tests.backends import until
from tests.backends.redis_cluster import RedisCluster

PROTECT = protected(["tag:{tag}"], [])


@pytest.fixture
async def clients(cluster: RedisCluster) -> AsyncIterator[list[Client]]:
    async with contextlib.AsyncExitStack() as stack:
        primaries = cluster.servers[:3]
        yield [await stack.enter_async_context(client(each.url, 2.0)) for each in primaries]


@pytest.fixture
def nodes(cluster: RedisCluster, clients: list[Client]) -> list[Node]:
    return [
        Node(primary, NodeKeys(primary).unlink, cluster=True)
        for primary in map(Server, clients, [server.address for server in cluster.servers[:3]])
    ]


@pytest.fixture
async def sweeper(nodes: list[Node]) -> AsyncIterator[Sweeper]:
    async def all_nodes() -> Sequence[Node]:
        return nodes

    made = Sweeper(all_nodes, PROTECT, Part("sweeper"), pace=Pace(share=1.0, count=100))
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_every_primary_is_swept(cluster: RedisCluster, sweeper: Sweeper) -> None:
    cluster.put([f"order:{n}" for n in range(1500)])
    cluster.put(["user:1", "tag:order"])
    async with asyncio.timeout(60):
        progress = await sweeper.request({b"order:*", b"tag:*"}).wait()
    assert (progress.removed, progress.protected, progress.passes) == (1500, 1, 1)
    assert cluster.keys() == 2


async def test_a_slot_on_its_way_means_another_sweep(
    cluster: RedisCluster, sweeper: Sweeper
) -> None:
    keys = [f"{{a}}:{n}" for n in range(200)]
    slot, source = key_slot(b"a"), cluster.owner("{a}")
    target = (source + 1) % 3
    cluster.put(keys)
    cluster.open_slot(slot, source, target)
    early = sweeper.request({b"{b}:*", b"nothing*"})
    await until(lambda: early.progress.passes >= 2)
    assert "moving slots" in early.progress.again
    ticket = sweeper.request({b"{a}:*", b"nothing*"})
    for key in keys[:100]:
        cluster.carry(key, source, target)
    await until(lambda: not cluster.left_in(slot, source))
    cluster.close_slot(slot, target)
    async with asyncio.timeout(60):
        await ticket.wait()
    assert early.done
    assert (early.progress.refused, early.progress.failed) == (0, {})
    assert cluster.keys() == 0
    cluster.close_slot(slot, source)


async def test_each_primary_tells_its_own_open_slots(
    cluster: RedisCluster, nodes: list[Node]
) -> None:
    cluster.open_slot(0, 0, 1)
    places = [await look(node.server, cluster=True) for node in nodes]
    cluster.close_slot(0, 0)
    assert [len(place.open) for place in places] == [1, 1, 0]


async def test_tags_are_consumed_where_they_lie_and_members_wherever_they_are(
    cluster: RedisCluster, nodes: list[Node]
) -> None:
    async def unlink(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        existed = 0
        for number, node in enumerate(nodes):
            mine = [key for key in keys if cluster.owner(key) == number]
            existed += (await node.unlink(mine))[0]
        return existed, {}

    for tag in range(30):
        members = [f"member:{tag}:{n}" for n in range(20)]
        cluster.put(members)
        cluster.admins[cluster.owner(f"tag:{tag}")].sadd(f"tag:{tag}", *members)
    existed = 0
    for number, node in enumerate(nodes):
        mine = [str(tag) for tag in range(40) if cluster.owner(f"tag:{tag}") == number]
        tags = Tags(node.server, [Layout()], unlink, cluster=True)
        existed += (await tags.consume(mine)).existed
        await tags.recover()
    assert existed == 600
    assert cluster.keys() == 0


async def test_a_tag_in_an_open_slot_with_work_beside_it_is_tried_again_later(
    cluster: RedisCluster,
) -> None:
    source = cluster.owner("tag:{a}")
    other, slot = (source + 1) % 3, key_slot(b"a")

    async def crash(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        raise Unavailable("cache", "is gone")

    async with client(cluster.url, 2.0) as connected:
        whole = Server(connected, "cache")
        assert isinstance(connected, Cluster)
        cluster.admins[source].sadd("tag:{a}", "k1")
        with pytest.raises(Unavailable):
            await ClusterTags(whole, connected, [Layout()], crash).consume(["{a}"])
        cluster.admins[source].sadd("tag:{a}", "k2")
        cluster.open_slot(slot, source, other)
        tags = ClusterTags(whole, connected, [Layout()], Keys(whole).unlink)
        with pytest.raises(Unavailable):
            await tags.consume(["{a}"])
        cluster.close_slot(slot, source)
        assert (await tags.consume(["{a}"])).failed == {}
    assert cluster.keys() == 0


async def test_members_that_name_keys_of_our_own_are_not_deleted(cluster: RedisCluster) -> None:
    async with client(cluster.url, 2.0) as connected:
        assert isinstance(connected, Cluster)
        whole = Server(connected, "cache")
        names = [("SET", "invalidator:dead", "x"), ("SADD", "tag:a", "invalidator:dead", "k1")]
        await whole.insist([*names, ("SET", "k1", "x")])
        tags = ClusterTags(whole, connected, [Layout()], Keys(whole).unlink)
        failed = (await tags.consume(["a"])).failed
        assert {tag: verdict.code for tag, verdict in failed.items()} == {"a": "own-name"}
        assert cluster.keys() == 1
        await whole.insist([("DEL", "invalidator:dead")])


async def test_versions_on_one_primary(cluster: RedisCluster, nodes: list[Node]) -> None:
    names = [f"v{n}" for n in range(300) if cluster.owner(f"cache:version:v{n}") == 0]
    assert await Versions(nodes[0].server, per_call=1).bump(names) == {}
    assert cluster.keys() == len(names)
