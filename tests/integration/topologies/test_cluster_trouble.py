"""A cluster whose slots move and whose primaries die, while events come in."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from invalidator.redisclient import Command, client, converse
from invalidator.runtime.health import Health
from invalidator.targets.redis.host import Host
from invalidator.targets.store import Store
from tests.backends import until
from tests.backends.redis_cluster import RedisCluster
from tests.conftest import StartCluster
from tests.integration.piping import event, piping, rules_from

RULES = """
version: 1
rules:
  - name: order-changed
    on: order.updated
    invalidate:
      keys: ["order:{orderId}", "{orderId}:order"]
      tags: ["order:{orderId}"]
      versions: ["order:{orderId}"]
"""


@contextmanager
def moving_slots(cluster: RedisCluster, slots: int) -> Iterator[list[int]]:
    """Of the first primary to the second, one after the other; gives those that have moved."""
    ending = threading.Event()
    moved: list[int] = []

    def move() -> None:
        for slot in range(slots):
            if ending.is_set():
                return
            cluster.move_slot(slot, 0, 1)
            moved.append(slot)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        yield moved
    finally:
        ending.set()
        mover.join()
        for slot in moved:
            cluster.move_slot(slot, 1, 0)


@pytest.mark.parametrize(
    ("slots", "idle"),
    [(200, 3), *(pytest.param(2000, idle, marks=pytest.mark.slow) for idle in range(1, 7))],
)
async def test_nothing_fails_for_good_while_slots_move(
    cluster: RedisCluster, tmp_path: Path, slots: int, idle: int
) -> None:
    events = slots * 10
    cluster.put([key for n in range(events) for key in (f"order:o{n}", f"o{n}:order")])
    for n in range(0, events, 50):
        cluster.admins[cluster.owner(f"tag:order:o{n}")].sadd(f"tag:order:o{n}", f"order:o{n}")
    health = Health()
    async with client(cluster.url, 2.0) as redis:
        every: list[Command] = [("GET", f"o{n}") for n in range(100)]
        await asyncio.gather(*(converse(redis, every) for _ in range(idle)))
        store = Store(Host(redis, "the cache", health.part("redis"), health.part("sweeps")))
        rules = rules_from(RULES, tmp_path)
        with moving_slots(cluster, slots) as moved:
            async with piping(rules, cluster.url, health=health, store=store) as bench:
                for at in range(0, events, 100):
                    await until(lambda at=at: len(moved) >= at // 10)  # type: ignore[misc]
                    bench.source.publish(*(event(orderId=f"o{n}") for n in range(at, at + 100)))
                await until(lambda: bench.source.settled == events)
    left = {key for admin in cluster.admins[:3] for key in admin.scan_iter(count=1000)}
    assert {key for key in left if not key.startswith(b"cache:version:order:")} == set()
    assert len(left) == events


@pytest.mark.parametrize("how", ["kill", pytest.param("freeze", marks=pytest.mark.slow)])
async def test_a_primary_that_fails_is_replaced_and_all_goes_on(
    start_cluster: StartCluster, tmp_path: Path, how: str
) -> None:
    cluster = start_cluster(node_timeout_ms=1000)
    cluster.put([f"order:o{n}" for n in range(200)])
    async with piping(rules_from(RULES, tmp_path), cluster.url, timeout=1.0) as bench:
        bench.source.publish(*(event(orderId=f"o{n}") for n in range(100)))
        await until(lambda: bench.source.settled == 100)
        getattr(cluster.servers[0], how)()
        bench.source.publish(*(event(orderId=f"o{n}") for n in range(100, 200)))
        await until(lambda: bench.health.part("redis").reason)
        assert bench.source.settled == 100
        await until(lambda: bench.source.settled == 200)
        assert not bench.health.part("redis").reason
    async with client(cluster.url, 2.0) as redis:
        there = await converse(redis, [("EXISTS", f"order:o{n}") for n in range(100, 200)])
    assert there == [0] * 100
