"""Sharded channels: each is heard on the node that has its slot, and followed when that moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.crc import key_slot

from invalidator.cli import main
from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.redisclient import client
from invalidator.runtime.health import Part
from invalidator.sources.pubsub.source import PubSubSource
from tests.backends import until
from tests.backends.redis_cluster import RedisCluster
from tests.contract.harness import raws, read, records
from tests.integration.piping import looking

CHANNELS = [f"orders:{n}" for n in range(6)]  # spread over all primaries


@asynccontextmanager
async def subscribed(url: str, *plain: str) -> AsyncIterator[PubSubSource]:
    source = PubSubSource(
        client(url, 2.0), plain, sharded=CHANNELS, part=Part("pubsub"), buffer=100, max_wait=0.0
    )
    try:
        await source.open()
        await told(source)
        yield source
    finally:
        await source.close()


async def told(source: PubSubSource) -> Batch:
    """A start, and a reconnection, is a gap in every channel."""
    batch = await source.read(1)
    assert batch
    assert {part.origin for part in batch.own} >= set(CHANNELS)
    return batch


def publish(cluster: RedisCluster, channel: str, message: str, node: int | None = None) -> int:
    number = cluster.owner(channel) if node is None else node
    heard: int = cluster.ask(number, "SPUBLISH", channel, message)
    return heard


async def test_they_are_heard_beside_plain_ones_wherever_their_slots_are(
    cluster: RedisCluster,
) -> None:
    assert {cluster.owner(channel) for channel in CHANNELS} == {0, 1, 2}
    async with subscribed(cluster.url, "news", "old.*") as source:
        for channel in CHANNELS:
            assert publish(cluster, channel, channel) == 1
        cluster.ask(1, "PUBLISH", "news", "news")
        cluster.ask(2, "PUBLISH", "old.news", "old.news")
        found = records(await read(source, 8))
    assert {(record.origin, record.raw) for record in found} == {
        (name, name.encode()) for name in (*CHANNELS, "news", "old.news")
    }


async def test_a_channel_whose_slot_moved_is_found_again_and_that_is_a_gap(
    cluster: RedisCluster,
) -> None:
    channel = CHANNELS[0]
    slot, here = key_slot(channel.encode()), cluster.owner(channel)
    there = (here + 1) % 3
    async with subscribed(cluster.url) as source:
        cluster.move_slot(slot, here, there)
        try:
            with pytest.raises(Unavailable, match="no longer subscribed"):
                await until(lambda: source.read(1))

            async def opened() -> bool:
                try:
                    await source.open()
                except Unavailable:
                    return False
                return True

            await until(opened)
            await told(source)
            assert publish(cluster, channel, "there", there) == 1
            assert publish(cluster, CHANNELS[1], "still") == 1
            assert sorted(map(bytes, filter(None, raws(await read(source, 2))))) == [
                b"still",
                b"there",
            ]
        finally:
            cluster.move_slot(slot, there, here)


async def test_one_server_has_all_of_them(redis_url: str) -> None:
    async with subscribed(redis_url, "news") as source:
        with looking(redis_url) as now:
            for channel in CHANNELS:
                assert now.execute_command("SPUBLISH", channel, "m") == 1  # type: ignore[no-untyped-call]
            assert now.publish("news", "m") == 1
        assert len(records(await read(source, 7))) == 7
        assert len(source._links) == 1


async def test_publish_reaches_them_though_no_channel_is_named(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", cluster.url)
    monkeypatch.setenv("INVALIDATOR_PUBSUB__SHARDED_CHANNELS", ",".join(CHANNELS))
    words = ["publish", "order.updated", '{"id": 1}']
    async with subscribed(cluster.url) as source:
        assert await asyncio.to_thread(main, words) == 0
        assert await asyncio.to_thread(main, [*words, "--channel", CHANNELS[3]]) == 0
        found = records(await read(source, 2))
    assert [record.origin for record in found] == [CHANNELS[0], CHANNELS[3]]
    said = capsys.readouterr()
    assert (said.out.count("1 subscriber"), said.err) == (2, "")
    assert await asyncio.to_thread(main, words) == 1
    assert "in INVALIDATOR_PUBSUB__SHARDED_CHANNELS" in capsys.readouterr().err
