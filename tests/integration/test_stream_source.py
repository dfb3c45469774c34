"""Redis Streams on real servers: restarts, dead consumers, vanished streams, trimmed entries."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
import redis

from invalidator.errors import Unavailable
from invalidator.layout import PLACE
from invalidator.model import Batch
from invalidator.redisclient import client
from invalidator.sources.source import Start
from invalidator.sources.stream import group as stream_group
from invalidator.sources.stream.entries import show_id
from invalidator.sources.stream.reader import BATCH_BYTES, PAGE_BYTES
from invalidator.sources.stream.replay import DryStreamSource
from invalidator.sources.stream.source import StreamSource
from tests.backends import until
from tests.backends.redis_server import RedisServer
from tests.backends.waiting import LIMIT, turn
from tests.contract.harness import Fleet, raws, read, records

Make = Callable[..., StreamSource]
KEY = "orders"
EARLIEST = Start("earliest")


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """`make(url, consumer)`: a consumer of the group `caches`, closed at the end."""
    async with AsyncExitStack() as stack:

        def new(
            url: str, consumer: str = "one", *keys: str, start: Start = EARLIEST, **more: Any
        ) -> StreamSource:
            settings = {"timeout": 1.0, "max_wait": 0.0} | more
            source = StreamSource(
                client(url, timeout=settings["timeout"]),
                keys or [KEY],
                group="caches",
                consumer=consumer,
                start=start,
                **settings,
            )
            stack.push_async_callback(source.close)
            return source

        yield new


def publish(server: "redis.Redis", first: int, last: int, key: str = KEY) -> list[bytes]:
    """Their ids."""
    return [ask(server, "XADD", key, "*", "event", number) for number in range(first, last)]


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def pending(server: "redis.Redis", key: str = KEY) -> int:
    found: Any = server.xpending(key, "caches")
    return int(found["pending"])


def ask(server: "redis.Redis", *words: str | int) -> Any:
    return server.execute_command(*words)  # type: ignore[no-untyped-call]


def consumers(server: "redis.Redis") -> set[str]:
    found: Any = server.xinfo_consumers(KEY, "caches")
    return {entry["name"].decode() for entry in found}


def told(batches: list[Batch]) -> list[dict[str, Any]]:
    """What the gaps in these say."""
    own = [part.values[0] for batch in batches for part in batch.own]
    return [orjson.loads(raw or b"")["data"] for raw in own]


async def gap(source: StreamSource, cause: str) -> tuple[dict[str, Any], Batch]:
    """The next gap, which has that cause."""
    batch = await until(lambda: with_gap(source), what="a gap")
    (data,) = told([batch])
    assert (data["cause"], data["channels"]) == (cause, [KEY])
    return data, batch


async def with_gap(source: StreamSource) -> Batch | None:
    batch = await source.read(100)
    return batch if batch and batch.own else None


async def settle(source: StreamSource, batches: list[Batch]) -> None:
    for batch in batches:
        await source.settle(batch)


async def vanish(source: StreamSource) -> None:
    """End as a process does that is killed."""
    if source._keeper:
        source._keeper.cancel()
        await asyncio.wait([source._keeper])
    source._keeper = None
    await source._client.aclose()


# --- where a group begins ---


async def test_a_group_begins_at_its_start_and_is_there_at_once(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    hour = 3_600_000
    now = int(redis_now.time()[0]) * 1000
    for ago in (2 * hour, hour // 2):
        redis_now.xadd(KEY, {"event": f"{ago}"}, id=f"{now - ago}-0")
    expected = {
        "latest": (Start("latest"), [b"new"]),
        "ago": (Start("ago", 3600.0), [b"1800000", b"new"]),
        "earliest": (EARLIEST, [b"7200000", b"1800000", b"new"]),
    }
    sources = {}
    for name, (start, _) in expected.items():
        source = StreamSource(
            client(redis_url, timeout=1.0),
            [KEY],
            group=name,
            consumer="one",
            start=start,
            timeout=1.0,
            max_wait=0.0,
        )
        sources[name] = source
    try:
        for source in sources.values():
            await source.open()
        redis_now.xadd(KEY, {"event": "new"})  # before anybody reads: the start is now
        for name, source in sources.items():
            values = expected[name][1]
            assert raws(await read(source, len(values))) == values
    finally:
        for source in sources.values():
            await source.close()


async def test_a_stream_that_does_not_exist_yet_is_waited_for(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, start=Start("latest"))
    await source.open()
    assert await source.read(10) is None
    publish(redis_now, 0, 1)
    assert raws(await read(source, 1)) == [b"0"]


async def test_a_key_that_is_no_stream_is_said_by_name(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    redis_now.set(KEY, "text")
    with pytest.raises(Unavailable, match=r"the stream orders: .*wrong kind of value"):
        await make(redis_url).open()


# --- restarts and the dead ---


async def test_what_was_pending_comes_first_after_a_restart_however_much_it_is(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 95)
    first = make(redis_url)
    await first.open()
    await read(first, 90, limit=30)
    await vanish(first)
    second = make(redis_url)
    await second.open()
    found = await read(second, 95, limit=20)
    assert raws(found) == numbers(0, 95)
    assert all(batch.events <= 20 for batch in found)
    await settle(second, found)
    assert pending(redis_now) == 0


async def test_it_says_how_far_behind_the_group_is(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, claim_after=0.4)  # looks at the group ten times a second
    await source.open()
    publish(redis_now, 0, 5)
    await until(lambda: source.lag() == {(KEY, ""): 5})
    (batch,) = await read(source, 2, limit=2)
    await until(lambda: source.lag() == {(KEY, ""): 5})  # two of them are pending
    await source.settle(batch)
    await until(lambda: source.lag() == {(KEY, ""): 3})


async def test_what_a_dead_consumer_had_pending_is_claimed_after_a_while(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 50)
    dead = make(redis_url, "dead")
    await dead.open()
    await read(dead, 50)
    await vanish(dead)
    heir = make(redis_url, "heir", claim_after=0.5)
    await heir.open()
    began = time.monotonic()
    found = await read(heir, 50, limit=20)
    assert time.monotonic() - began > 0.2
    assert sorted(raws(found), key=lambda raw: int(raw or b"")) == numbers(0, 50)
    await settle(heir, found)
    assert pending(redis_now) == 0


async def test_what_waits_for_a_sweep_is_claimed_by_nobody(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 10)
    busy = make(redis_url, "busy", claim_after=0.4)
    await busy.open()
    await read(busy, 10)
    other = make(redis_url, "other", claim_after=0.4)
    await other.open()
    until_then = time.monotonic() + 1.5
    while time.monotonic() < until_then:
        assert await other.read(10) is None
    waiting: Any = redis_now.xpending(KEY, "caches")
    assert waiting["consumers"] == [{"name": b"busy", "pending": 10}]


async def test_an_entry_that_an_outage_delivers_again_and_again_stays_a_good_one(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 5)
    for _ in range(12):
        source = make(redis_url)
        await source.open()
        found = await read(source, 5)
        assert raws(found) == numbers(0, 5)
        await source.close()
    entries: Any = redis_now.xpending_range(KEY, "caches", "-", "+", 10)
    assert {entry["times_delivered"] for entry in entries} == {12}


# --- what is lost, and what is not ---


async def test_a_stream_that_is_deleted_while_we_wait_for_it_is_read_on_and_said(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, timeout=3.0)
    publish(redis_now, 0, 3)
    await source.open()
    await settle(source, await read(source, 3))
    reading = asyncio.create_task(source.read(10))
    await until(lambda: redis_now.info("clients")["blocked_clients"] == 1)
    redis_now.delete(KEY)
    publish(redis_now, 3, 6)
    batches = [batch for batch in [await reading] if batch]
    batches += await read(source, 3 - len(raws(batches)))
    assert raws(batches) == numbers(3, 6)
    (data,) = told(batches)
    assert (data["cause"], data["seconds"] < LIMIT) == ("stream-vanished", True)


async def test_a_stream_that_begins_anew_with_lower_ids_is_read_from_its_beginning(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url)
    publish(redis_now, 0, 3)
    await source.open()
    await settle(source, await read(source, 3))
    redis_now.delete(KEY)
    redis_now.xadd(KEY, {"event": "low"}, id="1-1")
    assert raws(await read(source, 1)) == [b"low"]


async def test_a_group_that_is_destroyed_goes_on_where_all_was_settled(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 10)
    source = make(redis_url, claim_after=0.2)
    await source.open()
    first, second = await read(source, 10, limit=5)
    await source.settle(first)
    group = source._groups[KEY]
    before = group.safe
    await until(lambda: group.safe != before, what="it is noted where all is settled")
    ask(redis_now, "XGROUP", "DESTROY", KEY, "caches")
    publish(redis_now, 10, 12)
    again = await read(source, 7)
    assert raws(again) == numbers(5, 12)  # what was pending is lost with the group: once more
    assert told(again) == []
    await settle(source, [second, *again])
    assert pending(redis_now) == 0


@pytest.mark.parametrize("window", [300.0, 0.0])
@pytest.mark.parametrize("lost", ["group", "entries", "stream"])
async def test_a_group_that_vanished_while_no_daemon_ran_goes_on_or_is_a_gap(
    redis_url: str, redis_now: "redis.Redis", make: Make, lost: str, window: float
) -> None:
    fleet = Fleet("one" if window else "")
    fleet.window = window
    first = make(redis_url, start=Start("latest"), servers=fleet)
    await first.open()
    publish(redis_now, 0, 10)
    await settle(first, await read(first, 10))
    await first._groups[KEY].look_after(trim=False)
    await first.close()
    ids = publish(redis_now, 10, 20)
    ask(redis_now, "XGROUP", "DESTROY", KEY, "caches")
    if lost == "stream":
        redis_now.delete(KEY)
    if lost == "entries":
        redis_now.xtrim(KEY, minid=ids[5], approximate=False)
    second = make(redis_url, start=Start("latest"), servers=fleet)
    await second.open()
    if lost == "stream":
        await gap(second, "stream-vanished")
        return
    wanted = numbers(10, 20) if lost == "group" else numbers(15, 20)
    batches = await read(second, len(wanted))
    while wanted[-1] not in raws(batches):  # with a window, earlier entries come first
        batches += await read(second, 1)
    assert set(wanted) <= set(raws(batches))
    assert [data["cause"] for data in told(batches)] == ["trimmed-unread"] * (lost == "entries")


@pytest.mark.parametrize(("start", "first"), [(Start("earliest"), 0), (Start("ago", 60.0), 1)])
async def test_a_start_before_that_still_holds(
    redis_url: str, redis_now: "redis.Redis", make: Make, start: Start, first: int
) -> None:
    redis_now.xadd(KEY, {"event": "0"}, id="1-1")
    source = make(redis_url, start=Start("latest"), servers=Fleet("one"))
    await source.open()
    publish(redis_now, 1, 3)
    await settle(source, await read(source, 2))
    await source.close()
    ask(redis_now, "XGROUP", "DESTROY", KEY, "caches")
    again = make(redis_url, start=start, servers=Fleet("one"))
    await again.open()
    assert raws(await read(again, 3 - first)) == numbers(first, 3)


async def test_an_empty_server_after_a_restart_is_a_gap(
    start_redis: Callable[..., RedisServer], make: Make
) -> None:
    server = start_redis()
    source = make(server.url)
    with redis.Redis.from_url(server.url, protocol=2) as now:
        publish(now, 0, 3)
    await source.open()
    await read(source, 3)
    server.kill()
    server.start()
    with pytest.raises(Unavailable):
        await source.read(10)
    await source.open()
    await gap(source, "stream-vanished")
    with redis.Redis.from_url(server.url, protocol=2) as now:
        publish(now, 3, 5)
    assert raws(await read(source, 2)) == numbers(3, 5)


async def test_own_entries_that_were_trimmed_before_they_were_settled_are_a_gap(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 10)
    first = make(redis_url)
    await first.open()
    await read(first, 10)
    await vanish(first)
    redis_now.xtrim(KEY, maxlen=4, approximate=False)
    second = make(redis_url)
    await second.open()
    data, batch = await gap(second, "trimmed-pending")
    assert (data["events"], raws([batch])) == (6, numbers(6, 10))
    await second.settle(batch)
    assert pending(redis_now) == 0


async def test_a_dead_consumers_entries_that_were_trimmed_are_a_gap(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 10)
    dead = make(redis_url, "dead")
    await dead.open()
    await read(dead, 10)
    await vanish(dead)
    redis_now.xtrim(KEY, maxlen=0, approximate=False)
    heir = make(redis_url, "heir", claim_after=0.1)
    await heir.open()
    data, batch = await gap(heir, "trimmed-pending")
    assert (data["events"], raws([batch])) == (10, [])
    await heir.settle(batch)
    await until(lambda: pending(redis_now) == 0)


async def test_what_was_trimmed_while_we_work_on_it_is_not_lost(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 10)
    source = make(redis_url)
    await source.open()
    found = await read(source, 10)
    redis_now.xtrim(KEY, maxlen=0, approximate=False)
    await source.open()
    assert await source.read(10) is None
    await settle(source, found)
    assert pending(redis_now) == 0


async def test_entries_that_were_trimmed_before_anybody_read_them_are_a_gap(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, claim_after=0.2)
    await source.open()
    publish(redis_now, 0, 10)
    await settle(source, await read(source, 10))
    await source.close()  # while it is away, more is published than the stream keeps
    publish(redis_now, 10, 50)
    redis_now.xtrim(KEY, maxlen=15, approximate=False)
    await source.open()
    batches = await read(source, 15)
    while not told(batches):
        if batch := await source.read(100):
            batches.append(batch)
    await settle(source, batches)
    assert raws(batches) == numbers(35, 50)
    assert [(data["cause"], data["events"]) for data in told(batches)] == [("trimmed-unread", 25)]
    looked_at = source._groups[KEY]._seen
    await until(lambda: source._groups[KEY]._seen > looked_at)
    assert await source.read(10) is None  # told once


async def test_trimming_what_was_read_is_no_gap(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, claim_after=0.2)
    await source.open()
    for first in range(0, 100, 20):
        publish(redis_now, first, first + 20)
        found = await read(source, 20)
        await settle(source, found)
        redis_now.xtrim(KEY, maxlen=5, approximate=False)
        looked_at = source._groups[KEY]._seen
        await until(lambda at=looked_at: source._groups[KEY]._seen > at)  # type: ignore[misc]
        assert told(found) == []
    await source.close()
    second = make(redis_url)
    await second.open()
    assert await second.read(10) is None


# --- servers that are away ---


async def test_a_wait_for_entries_is_shorter_than_the_deadline_of_an_answer(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, timeout=0.2)
    await source.open()
    for _ in range(5):
        assert await source.read(10) is None
    publish(redis_now, 0, 1)
    assert raws(await read(source, 1)) == [b"0"]


async def test_a_frozen_server_is_found_and_what_was_settled_meanwhile_is_acknowledged_later(
    start_redis: Callable[..., RedisServer], make: Make
) -> None:
    server = start_redis()
    source = make(server.url)
    with redis.Redis.from_url(server.url, protocol=2) as now:
        publish(now, 0, 10)
        await source.open()
        settled, in_work = await read(source, 10, limit=5)
        server.freeze()
        await source.settle(settled)
        with pytest.raises(Unavailable):
            await source.read(10)
        server.thaw()
        await source.open()
        assert await source.read(10) is None
        assert pending(now) == 5
        await source.settle(in_work)
        assert pending(now) == 0


async def test_a_read_that_is_cancelled_loses_nothing(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 200)
    found: set[bytes | None] = set()
    for steps in range(0, 60, 3):
        source = make(redis_url)
        await source.open()
        reading = asyncio.create_task(source.read(10))
        for _ in range(steps):
            await turn()
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            if batch := await reading:
                found.update(raws([batch]))
                await source.settle(batch)
        await source.close()
    last = make(redis_url)
    await last.open()
    while len(found) < 200:
        batch = await last.read(100)
        assert batch
        found.update(raws([batch]))
    assert found == set(numbers(0, 200))


# --- large and many ---


async def test_streams_take_turns_where_a_read_is_for_fewer_entries_than_streams(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    keys = ["a", "b", "c"]
    for key in keys:
        publish(redis_now, 0, 20, key)
    source = make(redis_url, "one", *keys)
    await source.open()
    found = records(await read(source, 9, limit=1))
    assert {record.origin for record in found} == set(keys)


async def test_large_entries_are_read_few_at_a_time(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    for number in range(40):
        redis_now.xadd(KEY, {"event": b"%d" % number + b" " * 2_000_000})
    source = make(redis_url, timeout=5.0)
    await source.open()
    batches = await read(source, 40, limit=1000)
    assert max(batch.size for batch in batches[1:]) <= 32 << 20
    redis_now.delete(KEY)


async def test_only_consumers_that_are_gone_and_have_nothing_pending_are_removed(
    redis_url: str, redis_now: "redis.Redis", make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(redis_now, 0, 1)
    for name in ("busy", "idle"):
        source = make(redis_url, name)
        await source.open()
        await source.read(1)
        await vanish(source)
    source = make(redis_url, "one", claim_after=1.0)
    await source.open()
    await source.read(1)
    assert consumers(redis_now) == {"busy", "idle", "one"}
    monkeypatch.setattr(stream_group, "GONE_AFTER", 0.3)
    await until(lambda: "idle" not in consumers(redis_now), what="it is removed")
    assert consumers(redis_now) == {"busy", "one"}
    assert pending(redis_now) == 1


async def test_trimming_keeps_what_any_group_has_not_settled(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    ids = publish(redis_now, 0, 1000)
    redis_now.xgroup_create(KEY, "others", id=ids[599])
    source = make(redis_url, claim_after=0.2, trim=True)
    await source.open()
    await settle(source, await read(source, 1000, limit=1000))
    await until(lambda: redis_now.xlen(KEY) < 1000, what="it is trimmed")
    entries: Any = redis_now.xrange(KEY, count=1)
    assert 499 <= ids.index(entries[0][0]) <= 600
    ask(redis_now, "XGROUP", "DESTROY", KEY, "others")
    await until(lambda: redis_now.xlen(KEY) <= 100, what="it is trimmed")


async def test_nothing_is_trimmed_unless_asked_for(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 500)
    source = make(redis_url, claim_after=0.1)
    await source.open()
    await settle(source, await read(source, 500, limit=1000))
    looked_at = source._groups[KEY]._seen
    await until(lambda: source._groups[KEY]._seen > looked_at)
    assert redis_now.xlen(KEY) == 500


async def test_a_dry_run_reads_without_a_trace(redis_url: str, redis_now: "redis.Redis") -> None:
    publish(redis_now, 0, 5)
    sources = [
        DryStreamSource(client(redis_url, timeout=1.0), [KEY], start=start)
        for start in (Start("latest"), EARLIEST)
    ]
    try:
        for source in sources:
            await source.open()
        publish(redis_now, 5, 8)
        assert raws(await read(sources[0], 3)) == numbers(5, 8)
        assert raws(await read(sources[1], 8)) == numbers(0, 8)
        await sources[1].stop()
        assert await sources[1].read(10) is None
    finally:
        for source in sources:
            await source.close()
    assert redis_now.xinfo_groups(KEY) == []


async def test_nothing_is_lost_whatever_ends_and_breaks_in_between(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    """Three consumers that die, lose their links and are slow to settle."""
    chance = random.Random(5)
    settled: set[bytes | None] = set()
    over = asyncio.Event()

    async def consume(name: str) -> None:
        while not over.is_set():
            source = make(redis_url, name, claim_after=0.3)
            with contextlib.suppress(Unavailable):
                await source.open()
                for _ in range(chance.randrange(5, 40)):
                    batch = await source.read(chance.randrange(1, 30))
                    if batch and chance.random() < 0.9:
                        await source.settle(batch)
                        settled.update(raws([batch]))
            await vanish(source)

    consuming = [asyncio.create_task(consume(name)) for name in ("one", "two", "three")]
    for first in range(0, 3000, 100):
        done = len(settled)
        publish(redis_now, first, first + 100)
        ask(redis_now, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda at=done: len(settled) > at)  # type: ignore[misc]
    try:
        await until(lambda: len(settled) == 3000, what="every entry is settled by somebody")
    finally:
        over.set()
        await asyncio.wait(consuming)
        for task in consuming:
            task.result()
    assert settled == set(numbers(0, 3000))


# --- paused, and read again ---


async def test_paused_entries_are_claimed_by_no_other_consumer(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 10)
    busy = make(redis_url, "busy", claim_after=0.4)
    await busy.open()
    found = await read(busy, 10)
    busy.pause(frozenset({KEY}))
    await settle(busy, found)
    other = make(redis_url, "other", claim_after=0.4)
    await other.open()
    until_then = time.monotonic() + 1.5
    while time.monotonic() < until_then:
        assert await other.read(10) is None
    busy.pause(frozenset())
    await settle(busy, await read(busy, 10))
    assert pending(redis_now) == 0


async def test_entries_whose_ids_are_no_times_are_read_again(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    fleet = Fleet("one")
    source = make(redis_url, servers=fleet)
    await source.open()
    for number in range(3):
        redis_now.xadd(KEY, {"event": str(number)}, id=f"{number + 1}-1")
    await settle(source, await read(source, 3))
    fleet.identity = "two"
    assert raws(await read(source, 3)) == numbers(0, 3)


async def test_only_what_was_settled_within_the_window_is_read_again(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    fleet = Fleet("one")
    fleet.window = 0.5
    source = make(redis_url, claim_after=0.4, servers=fleet)  # looks ten times a second
    await source.open()
    (first,) = publish(redis_now, 0, 1)
    await settle(source, await read(source, 1))
    reread = source._rereads[KEY]
    await until(lambda: reread.oldest and show_id(reread.oldest) == first.decode())
    publish(redis_now, 1, 3)
    await settle(source, await read(source, 2))
    fleet.identity = "two"
    assert raws(await read(source, 2)) == numbers(1, 3)
    assert await source.read(10) is None


async def test_while_the_servers_are_unknown_what_is_settled_stays_to_be_read_again(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    """One of them may be failing over for longer than the window."""
    fleet = Fleet("one")
    fleet.window = 0.1
    source = make(redis_url, claim_after=0.2, servers=fleet)
    await source.open()
    assert await source.read(10) is None
    fleet.identity = ""
    publish(redis_now, 0, 3)
    await settle(source, await read(source, 3))
    group = source._groups[KEY]
    for _ in range(5):
        looked_at = group._seen
        await until(lambda at=looked_at: group._seen > at)  # type: ignore[misc]
    fleet.identity = "two"
    assert raws(await read(source, 3)) == numbers(0, 3)


async def test_entries_that_may_be_read_again_are_not_trimmed(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    publish(redis_now, 0, 500)
    source = make(redis_url, claim_after=0.1, trim=True, servers=Fleet("one"))
    await source.open()
    await settle(source, await read(source, 500, limit=1000))
    looked_at = source._groups[KEY]._seen
    await until(lambda: source._groups[KEY]._seen > looked_at)
    assert redis_now.xlen(KEY) == 500


async def test_entries_that_were_trimmed_and_cannot_be_read_again_are_a_gap(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    fleet = Fleet("one")
    source = make(redis_url, servers=fleet)
    await source.open()
    publish(redis_now, 0, 5)
    await settle(source, await read(source, 5))
    redis_now.xtrim(KEY, maxlen=3, approximate=False)
    fleet.identity = "two"
    (batch,) = await read(source, 3)
    assert (raws([batch]), told([batch])[0]["cause"]) == (numbers(2, 5), "cache-went-back")
    await source.settle(batch)
    assert await source.read(10) is None


@pytest.mark.parametrize(
    "stored", ['{"v":1,"era":"0a1b.2c","trail":[[0.0,"0-0"]]}', "no JSON", '{"v":2}']
)
async def test_a_place_of_another_version_counts_as_none(
    redis_url: str, redis_now: "redis.Redis", make: Make, stored: str
) -> None:
    redis_now.set(PLACE.format(group="caches", stream=KEY), stored)
    publish(redis_now, 0, 3)
    source = make(redis_url, servers=Fleet("one"))
    await source.open()
    await settle(source, await read(source, 3))
    assert await source.read(10) is None
    await vanish(source)
    heir = make(redis_url, servers=Fleet("two"))
    await heir.open()
    assert raws(await read(heir, 3)) == numbers(0, 3), "the identity was stored with the first read"


async def test_of_entries_whose_last_field_is_small_not_too_many_are_read_at_once(
    redis_url: str, redis_now: "redis.Redis", make: Make, allow_keys: Callable[..., None]
) -> None:
    allow_keys(KEY)
    source = make(redis_url)
    await source.open()
    for _ in range(60):
        redis_now.xadd(KEY, {"event": b"x" * 500_000, "trace": "1"})
    batches = await read(source, 60, limit=1000)
    assert max(batch.size for batch in batches) <= BATCH_BYTES + PAGE_BYTES


async def test_a_link_that_broke_gives_nothing_again_that_is_being_worked_on(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    """It would be planned twice, and what the rules reject of it would be two dead letters."""
    source = make(redis_url)
    await source.open()
    publish(redis_now, 0, 5)
    held = await read(source, 5)
    await source.open()
    publish(redis_now, 5, 7)
    assert raws(await read(source, 2)) == numbers(5, 7)
    for batch in held:
        await source.settle(batch)
    assert pending(redis_now) == 2
