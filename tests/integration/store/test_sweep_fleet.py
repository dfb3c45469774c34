"""Sweeps shared by a fleet: each `Sweeper` here stands for the one of another daemon."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.redisclient import client
from invalidator.redisclient.errors import Meaning, Verdict
from invalidator.redisclient.server import Server
from invalidator.runtime.health import Part
from invalidator.targets.redis.keys import Keys
from invalidator.targets.redis.patterns import Matcher, protected
from invalidator.targets.redis.sweep_fleet import Fleet
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.tag_work import Unlink
from invalidator.targets.redis.walk import Node, Pace, Progress, Ticket
from tests.backends import until
from tests.conftest import StartRedis
from tests.integration.piping import looking, run

if TYPE_CHECKING:
    import redis

OWN = protected([], [])
SOON = 0.02  # seconds between two looks
FOREIGN = "a member that is not in this test"


class Member:
    def __init__(self) -> None:
        self.swept: list[Progress] = []  # that it made, for itself or for all
        self.noted = 0
        self.sweeper: Sweeper


@asynccontextmanager
async def member(
    server: Server,
    protect: Matcher = OWN,
    *,
    lease: float = 60,
    unlink: Unlink | None = None,
    **options: Any,
) -> AsyncIterator[Member]:
    made = Member()
    node = Node(server, unlink or Keys(server).unlink)

    async def nodes() -> Sequence[Node]:
        return [node]

    def observe(progress: Progress) -> None:
        if progress.ended:
            made.swept.append(progress)

    def note() -> None:
        made.noted += 1

    made.sweeper = Sweeper(
        nodes,
        protect,
        Part("sweeper"),
        **({"pace": Pace(share=1.0)} | options),
        fleet=Fleet(server, lease=lease, look_every=SOON),
        observe=observe,
        progress=note,
    )
    task = asyncio.create_task(made.sweeper.run())
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def fleet(server: Server, *protects: Matcher, **options: Any) -> AsyncIterator[list[Member]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(member(server, p, **options)) for p in protects]


async def outcome(ticket: Ticket) -> Progress:
    async with asyncio.timeout(60):
        return await ticket.wait()


def keys(now: "redis.Redis", pattern: str) -> list[str]:
    found: Any = now.keys(f"invalidator:sweep:{pattern}")
    return [key.decode() for key in found]


async def test_one_member_sweeps_for_all_that_wait(
    server: Server, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({f"k:{n}": "x" for n in range(300)})
    async with member(server) as first:  # to learn the lease's name, and take it
        lease = await lease_of(first, redis_now)
    redis_now.set(lease, FOREIGN)
    async with fleet(server, OWN, OWN, OWN) as members:
        tickets = [each.sweeper.request({b"k:%d*" % n}) for n, each in enumerate(members)]
        await until(lambda: sum(redis_now.hlen(name) for name in keys(redis_now, "*:wanted")) == 3)
        await until(lambda: all(each.noted > 2 for each in members))  # waiting is progress
        assert redis_now.dbsize() == 302
        redis_now.delete(lease)
        done = [await outcome(ticket) for ticket in tickets]
        swept = [sweep for each in members for sweep in each.swept]
    assert [sweep.for_others for sweep in swept] == [2]
    assert sorted(progress.elsewhere for progress in done) == [False, True, True]
    assert tickets[0].hit("k:0*") is (None if done[0].elsewhere else True)
    assert not redis_now.keys("k:[012]*")
    assert keys(redis_now, "*") == []


async def lease_of(one: Member, now: "redis.Redis") -> str:
    """Return the name of the lease, from the requests that a member stores."""
    names: list[str] = []
    ticket = one.sweeper.request({b"nothing"})
    while not ticket.done:
        names += keys(now, "*:wanted") + keys(now, "*:lease")
        await asyncio.sleep(0)
    assert names
    return names[0].replace(":wanted", ":lease")


async def test_a_lease_that_is_not_renewed_expires_and_another_member_takes_over(
    server: Server, redis_now: "redis.Redis"
) -> None:
    async with member(server) as one:
        lease = await lease_of(one, redis_now)
        redis_now.set(lease, FOREIGN, px=500)
        redis_now.set("k:1", "x")
        await outcome(one.sweeper.request({b"k:*"}))
    assert not redis_now.exists("k:1")
    assert len(one.swept) == 2
    assert keys(redis_now, "*") == []


async def test_a_lease_lasts_as_long_as_the_sweep(server: Server, redis_now: "redis.Redis") -> None:
    redis_now.mset({f"k:{n}": "x" for n in range(2000)})
    slow = Pace(share=1.0, bytes_per_second=6_000, count=100)
    async with fleet(server, OWN, OWN, lease=0.3, pace=slow) as (one, other):
        first = one.sweeper.request({b"k:1*"})
        await until(lambda: keys(redis_now, "*:lease"))
        second = other.sweeper.request({b"k:2*"})
        await outcome(first)
        assert other.swept == []
        await outcome(second)
    assert keys(redis_now, "*") == []


async def test_a_request_that_its_server_lost_is_stored_again(
    server: Server, redis_now: "redis.Redis"
) -> None:
    async with member(server) as one:
        lease = await lease_of(one, redis_now)
        redis_now.set(lease, FOREIGN)
        ticket = one.sweeper.request({b"k:*"})
        await until(lambda: keys(redis_now, "*:wanted"))
        redis_now.flushdb()
        redis_now.set(lease, FOREIGN)
        redis_now.set("k:1", "x")
        await until(lambda: keys(redis_now, "*:wanted"))
        assert not ticket.done
        redis_now.delete(lease)
        await outcome(ticket)
    assert not redis_now.exists("k:1")


async def test_members_that_protect_other_keys_do_not_sweep_for_each_other(
    server: Server, redis_now: "redis.Redis"
) -> None:
    redis_now.mset(dict.fromkeys(["a:1", "a:2", "b:1", "b:2"], "x"))
    spare_a, spare_b = protected([], ["a:*"]), protected([], ["b:*"])
    async with fleet(server, spare_a, spare_b) as (one, other):
        await outcome(one.sweeper.request({b"*:1"}))
        await outcome(other.sweeper.request({b"*:2"}))
    assert sorted(redis_now.keys()) == [b"a:1", b"b:2"]


async def test_everybody_is_told_what_could_not_be_deleted(
    server: Server, redis_now: "redis.Redis"
) -> None:
    verdict = Verdict(Meaning.PERMANENT, "noperm", "may not")

    async def refuse(found: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        return 0, dict.fromkeys(found, verdict)

    redis_now.set("k:\u00e9", "x")
    async with member(server) as first:
        lease = await lease_of(first, redis_now)
    redis_now.set(lease, FOREIGN)
    async with fleet(server, OWN, OWN, unlink=refuse) as members:
        tickets = [each.sweeper.request({b"k:*"}) for each in members]
        await until(lambda: sum(redis_now.hlen(name) for name in keys(redis_now, "*:wanted")) == 2)
        redis_now.delete(lease)
        for ticket in tickets:
            progress = await outcome(ticket)
            assert progress.failed == {"k:\u00e9".encode(): verdict}
            assert progress.refused == 1


@pytest.mark.parametrize("lacking", ["hset", "hexists", "set", "get", "hgetall", "hdel"])
async def test_without_the_permission_each_member_sweeps_for_itself(
    start_redis: StartRedis, lacking: str
) -> None:
    started = start_redis()
    with looking(started.url) as admin:
        granted = ["on", ">p", "~*", "+@all", f"-{lacking}"]
        run(admin, "ACL", "SETUSER", "member", *granted)
        connection = client(f"redis://member:p@{started.address}/0", 5)
        admin.set("k:1", "x")
        server = Server(connection, "limited")
        async with fleet(server, OWN, OWN) as members:
            for each in members:
                await outcome(each.sweeper.request({b"k:*"}))
        await connection.aclose()
        assert not admin.exists("k:1")
    assert [len(each.swept) for each in members] == [1, 1]
