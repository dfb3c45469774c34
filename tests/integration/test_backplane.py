"""What is announced on a real Redis, when, and what a listener notices that it missed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from invalidator.cli.listen import Gap, Lost, Received, listen
from invalidator.model import Cause, Names
from invalidator.redisclient import client
from invalidator.runtime import metrics
from invalidator.targets.redis.announce import Announcer
from invalidator.targets.redis.messages import Message
from tests.backends import until
from tests.conftest import StartRedis
from tests.integration.piping import AllowKeys, event, looking, piping, rules_from, run
from tests.integration.test_kinds import RULES, order

if TYPE_CHECKING:
    import redis

CAUSE = Cause("test", "4be1")


@pytest.fixture(autouse=True)
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.targets.redis.announce.HEARTBEAT", 0.02)


class Heap(list[Received]):
    """All that was heard."""

    def applied(self, kind: str = "") -> list[Message]:
        return [
            m
            for m in self
            if isinstance(m, Message) and m.type == "applied" and kind in ("", m.kind)
        ]

    def alive(self) -> bool:
        return any(isinstance(m, Message) for m in self)

    def gaps(self) -> list[Gap]:
        return [m for m in self if isinstance(m, Gap)]


@asynccontextmanager
async def listening(*urls: str) -> AsyncIterator[Heap]:
    heap = Heap()

    def tell(heard: Received) -> bool:
        heap.append(heard)
        return False

    task = asyncio.create_task(listen({url: client(url, 0.5) for url in urls}, tell))
    try:
        yield heap
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def announcing(url: str, **options: Any) -> AsyncIterator[Announcer]:
    async with client(url, 0.5) as connected:
        announcer = Announcer(connected, "cache", **options)
        task = asyncio.create_task(announcer.run())
        try:
            yield announcer
            await announcer.end()
        finally:
            task.cancel()
            await asyncio.wait([task])


async def heard_by(announcer: Announcer) -> None:
    await until(lambda: announcer.has_listeners)


def published(now: "redis.Redis") -> int:
    stats: Any = now.info("commandstats")
    return int(stats.get("cmdstat_publish", {}).get("calls", 0))


def keys(*names: str) -> Names:
    return Names(keys=set(names))


# --- from the pipeline ---


async def test_what_was_applied_is_announced_before_it_is_settled(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = rules_from(RULES, tmp_path)
    redis_now.mset({"order:o1": 1, "orders:list:c1:1": 1})
    async with listening(redis_url) as heap, piping(rules, redis_url) as bench:
        await until(heap.alive)
        settle = bench.source.settle
        at_settle: list[set[str | None]] = []

        async def noting(batch: Any) -> None:
            await until(lambda: len(heap.applied()) == 4)
            at_settle.append({message.kind for message in heap.applied()})
            await settle(batch)

        monkeypatch.setattr(bench.source, "settle", noting)
        await until_heard(heap)
        bench.source.publish(order())
        await until(lambda: bench.source.settled == 1)
    assert at_settle == [{"keys", "tags", "versions", "patterns"}]
    told = {message.kind: message.names for message in heap.applied()}
    assert told == {
        "keys": ("order:o1",),
        "tags": ("customer:c1",),
        "versions": ("orders",),
        "patterns": ("orders:list:c1:*",),
    }
    (first, *_) = heap.applied()
    assert (first.cache, first.cause) == ("default", Cause("memory", rules.hash))


async def until_heard(heap: Heap) -> None:
    """A heartbeat after the first: whoever sent it knows by then that we listen."""
    await until(lambda: sum(isinstance(m, Message) for m in heap) > 1)


async def test_a_pattern_is_announced_only_when_its_sweep_is_over(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    """A listener that forgot earlier could read the old entry again."""
    server = start_redis()
    with looking(server.url) as now:
        run(now, "ACL", "SETUSER", "default", "-scan")
        now.set("orders:list:c1:1", 1)
        async with (
            listening(server.url) as heap,
            piping(rules_from(RULES, tmp_path), server.url) as bench,
        ):
            await until_heard(heap)
            bench.source.publish(event("list.updated", customer="c1"), order("c2"))
            await until(lambda: heap.applied("keys"))
            await until(lambda: bench.health.waiting().get("sweeps"))
            assert not heap.applied("patterns")
            run(now, "ACL", "SETUSER", "default", "+scan")
            (swept,) = await until(lambda: heap.applied("patterns"))
            assert set(swept.names) == {"orders:list:c1:*", "orders:list:c2:*"}
            assert not now.exists("orders:list:c1:1")
    assert heap.gaps() == []


async def test_a_second_pass_is_announced_again(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with (
        listening(redis_url) as heap,
        piping(rules_from(RULES, tmp_path), redis_url) as bench,
    ):
        await until_heard(heap)
        bench.source.publish(event("late.updated", id=1))
        await until(lambda: bench.source.settled == 1)
        await until(lambda: len(heap.applied("keys")) == 2)


async def test_a_name_that_could_not_be_applied_is_not_announced(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    redis_now.set("cache:version:orders", "not a number")
    async with (
        listening(redis_url) as heap,
        piping(rules_from(RULES, tmp_path), redis_url) as bench,
    ):
        await until_heard(heap)
        bench.source.publish(order())
        await until(lambda: bench.source.settled == 1)
        await until(lambda: len(heap.applied()) == 3)
    assert not heap.applied("versions")


# --- nobody listens, or somebody begins to ---


async def test_while_nobody_listens_nothing_is_written_and_a_late_listener_sees_a_gap(
    redis_url: str, redis_now: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.targets.redis.announce.HEARTBEAT", 0.3)
    async with announcing(redis_url) as announcer:
        await until(lambda: published(redis_now))
        before = published(redis_now)
        for number in range(50):
            await announcer.announce(CAUSE, "default", keys(f"k:{number}"))
        assert published(redis_now) - before <= 1, "a heartbeat at most"
        async with listening(redis_url) as heap:
            (gap,) = await until(heap.gaps)
            assert gap.cause == "new"
            await heard_by(announcer)
            await announcer.announce(CAUSE, "default", keys("k"))
            (message,) = await until(heap.applied)
            assert message.seq == 51
            assert heap.gaps() == [gap]


async def test_a_listener_that_was_away_learns_how_much_it_missed(
    redis_url: str, redis_now: "redis.Redis"
) -> None:
    async with announcing(redis_url, when="always") as announcer, listening(redis_url) as heap:
        await until(heap.alive)
        await announcer.announce(CAUSE, "default", keys("a"))
        await until(heap.applied)
        run(redis_now, "CLIENT", "KILL", "TYPE", "pubsub")
        for name in "bcd":
            await announcer.announce(CAUSE, "default", keys(name))
        await until(heap.gaps)
        # It may be back before the last of them.
        await until(lambda: sum(gap.missed for gap in heap.gaps()) + len(heap.applied()) == 4)
        assert {gap.cause for gap in heap.gaps()} == {"missed"}
        assert any(isinstance(entry, Lost) for entry in heap)


async def test_an_orderly_end_says_goodbye_with_the_last_number(redis_url: str) -> None:
    async with listening(redis_url) as heap:
        async with announcing(redis_url) as announcer:
            await heard_by(announcer)
            await announcer.announce(CAUSE, "default", keys("a"))
        last = await until(lambda: [m for m in heap if isinstance(m, Message) and m.type == "bye"])
        assert [m.seq for m in last] == [1]


async def test_messages_of_many_at_once_arrive_in_the_order_of_their_numbers(
    redis_url: str,
) -> None:
    async with announcing(redis_url) as announcer, listening(redis_url) as heap:
        await heard_by(announcer)
        await asyncio.gather(
            *(announcer.announce(CAUSE, "default", keys(f"k{n}")) for n in range(200))
        )
        await until(lambda: len(heap.applied()) == 200)
        assert [m.seq for m in heap.applied()] == list(range(1, 201))
        assert heap.gaps() == []


async def test_a_large_batch_comes_in_several_messages(redis_url: str) -> None:
    names = {f"order:single:{number:030}" for number in range(20_000)}
    async with announcing(redis_url) as announcer, listening(redis_url) as heap:
        await heard_by(announcer)
        await announcer.announce(CAUSE, "default", Names(keys=names))
        await until(lambda: sum(len(m.names) for m in heap.applied()) == 20_000)
        assert len(heap.applied()) > 10
        assert {name for m in heap.applied() for name in m.names} == names


async def test_never_is_silent(redis_url: str, redis_now: "redis.Redis") -> None:
    before = published(redis_now)
    async with announcing(redis_url, when="never") as announcer:
        await announcer.announce(CAUSE, "default", keys("k"))
    assert published(redis_now) == before


# --- servers that refuse, or are away ---


@pytest.mark.parametrize("forbidden", ["-publish", "resetchannels"])
async def test_without_the_permission_to_publish_invalidation_goes_on(
    start_redis: StartRedis, tmp_path: Path, forbidden: str
) -> None:
    server = start_redis()
    refused = metrics.ANNOUNCED.labels("refused")._value.get()
    with looking(server.url) as now, capture_logs() as said:
        run(now, "ACL", "SETUSER", "default", forbidden)
        now.set("order:o1", 1)
        async with piping(rules_from(RULES, tmp_path), server.url) as bench:
            await until(lambda: metrics.ANNOUNCED.labels("refused")._value.get() > refused)
            bench.source.publish(order(), order())
            await until(lambda: bench.source.settled == 2)
            assert bench.health.parts["redis"].reason == ""
        assert not now.exists("order:o1")
    assert [line["event"] for line in said].count("not-announced") == 1


async def test_a_permission_that_is_taken_away_while_somebody_listens_does_not_halt_either(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis(config={"user": "daemon on nopass +@all ~* &*"})
    own = server.url.replace("redis://", "redis://daemon:x@")
    with looking(server.url) as now:
        async with (
            listening(server.url) as heap,
            piping(rules_from(RULES, tmp_path), own) as bench,
        ):
            await until_heard(heap)
            run(now, "ACL", "SETUSER", "daemon", "-publish")
            bench.source.publish(order())
            await until(lambda: bench.source.settled == 1)
            assert heap.applied() == []


async def test_a_redis_that_goes_away_before_it_took_the_message_is_waited_for(
    start_redis: StartRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_redis()
    async with (
        listening(server.url) as heap,
        piping(rules_from(RULES, tmp_path), server.url) as bench,
    ):
        await until_heard(heap)
        monkeypatch.setattr("invalidator.targets.redis.announce.publish", _killing(server.kill))
        bench.source.publish(event("late.updated", id=1))
        await until(lambda: "killed" in bench.health.waiting().get("redis", ""))
        assert bench.source.settled == 0
        monkeypatch.undo()
        server.start()
        await until(lambda: bench.source.settled == 1)
        # Whether the lost message arrived, nobody knows: its number is not used again.
        await until(lambda: heap.gaps() or heap.applied())


def _killing(kill: Callable[[], None]) -> Any:
    async def publish(connected: Any, channel: Any, messages: Any) -> Any:
        if b'"applied"' in messages[0]:
            kill()
        raise ConnectionError("killed")

    return publish


async def test_announcers_of_two_databases_of_a_server_count_each_for_itself(
    redis_url: str,
) -> None:
    async with (
        listening(redis_url) as heap,
        announcing(redis_url, clock=lambda: 1.0) as first,
        announcing(redis_url, clock=lambda: 1.0) as second,
    ):
        for announcer in (first, second):
            await heard_by(announcer)
            await announcer.announce(CAUSE, "default", keys("k"))
        await until(lambda: len(heap.applied()) == 2)
        assert len({message.sender for message in heap.applied()}) == 2
