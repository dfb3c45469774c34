"""How fast a sweep goes where our own thread has other things to do."""

import asyncio
from collections.abc import Sequence

import pytest
import redis

from invalidator.redisclient import Command, Reply
from invalidator.redisclient.server import Server
from invalidator.runtime.health import Part
from invalidator.targets.redis.keys import Keys
from invalidator.targets.redis.patterns import protected
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.walk import Node
from tests.backends.waiting import turn


@pytest.mark.parametrize(("ours", "slowed"), [(1.0, False), (0.0, True)])
async def test_a_reply_that_waits_for_our_thread_is_no_work_of_the_servers(
    server: Server, redis_now: "redis.Redis", ours: float, slowed: bool
) -> None:
    redis_now.mset({f"k:{n}": "x" for n in range(10_000)})
    now = 0.0
    waited: list[float] = []

    class Late(Server):
        async def ask(self, commands: Sequence[Command]) -> list[Reply]:
            nonlocal now
            now += 0.06
            return await super().ask(commands)

    async def sleep(seconds: float) -> None:
        nonlocal now
        waited.append(seconds)
        now += seconds
        await turn()

    async def nodes() -> Sequence[Node]:
        return [Node(Late(server.client, "cache"), Keys(server).unlink)]

    sweeper = Sweeper(
        nodes,
        protected((), ()),
        Part("sweeper"),
        clock=lambda: now,
        cpu=lambda: now * ours,
        sleep=sleep,
    )
    task = asyncio.create_task(sweeper.run())
    async with asyncio.timeout(60):
        await sweeper.request({b"x*", b"y*"}).wait()
    task.cancel()
    await asyncio.wait([task])
    assert (sum(waited) > 1) is slowed
