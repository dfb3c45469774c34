"""The contract of all sources: the pipeline need not know which one it has."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.sources.pubsub.source import PubSubSource
from invalidator.sources.source import Source
from tests.backends import until
from tests.contract.harness import (
    Fleet,
    Harness,
    HttpHarness,
    KafkaHarness,
    MemoryHarness,
    Private,
    PubSubHarness,
    StreamHarness,
    private,
    raws,
    read,
    records,
    tasks,
)

CLOSE_WITHIN = 60.0  # seconds, also where the server is gone


SOURCES = ["memory", "http", "pubsub", "kafka", "stream"]
KEEPERS = pytest.mark.parametrize("harness", ["memory", "kafka", "stream"], indirect=True)
SEVERAL = pytest.mark.parametrize("harness", ["http", "pubsub", "kafka", "stream"], indirect=True)
GO_BACK = pytest.mark.parametrize("harness", ["http", "pubsub", "kafka", "stream"], indirect=True)
GO_BACK_LATER = pytest.mark.parametrize("harness", ["kafka", "stream"], indirect=True)
FILLERS = pytest.mark.parametrize("harness", ["pubsub", "kafka", "stream"], indirect=True)
WITH_TOMBSTONES = pytest.mark.parametrize("harness", ["memory", "kafka"], indirect=True)


@pytest.fixture(params=SOURCES)
def harness(request: pytest.FixtureRequest) -> Harness:
    match request.param:
        case "pubsub":
            return PubSubHarness(request.getfixturevalue("redis_url"))
        case "http":
            return HttpHarness()
        case "stream":
            return StreamHarness(request.getfixturevalue("redis_url"))
        case "kafka":
            bootstrap = request.getfixturevalue("kafka_bootstrap")
            kafka = KafkaHarness(bootstrap, request.getfixturevalue("kafka"))
            kafka.prepare()
            return kafka
        case _:
            return MemoryHarness()


@pytest.fixture(params=["pubsub", "kafka", "stream"])
def away(request: pytest.FixtureRequest) -> Iterator[Private]:
    yield from private(request.param)


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator[Source]:
    try:
        await source.open()
        if isinstance(source, PubSubSource):  # its start is a gap
            first = await source.read(1)
            assert first
            assert first.own
        yield source
    finally:
        await source.close()


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


async def test_records_come_in_the_order_of_their_origin_and_none_comes_twice(
    harness: Harness,
) -> None:
    async with opened(harness.source()) as source:
        for origin, _ in enumerate(harness.origins):
            harness.publish(*numbers(0, 250), origin=origin)
        found = records(await read(source, 250 * len(harness.origins)))
        assert await source.read(100) is None
    assert {record.origin for record in found} == set(harness.origins)
    for name in harness.origins:
        assert [r.raw for r in found if r.origin == name] == numbers(0, 250)


async def test_an_empty_read_waits_a_moment_and_gives_none(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        began = time.monotonic()
        assert await source.read(10) is None
        assert time.monotonic() - began > 0.02


async def test_a_batch_is_never_larger_than_its_limit(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(*numbers(0, 25))
        batches = await read(source, 25, limit=10)
    assert all(0 < batch.events <= 10 for batch in batches)
    assert raws(batches) == numbers(0, 25)


async def test_a_batch_knows_its_events_and_their_bytes(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(b"abc", b"", b"de")
        batches = await read(source, 3)
    found = records(batches)
    assert sum(batch.size for batch in batches) == sum(record.size for record in found)
    assert sum(len(record.raw or b"") for record in found) == 5
    for batch in batches:
        assert batch.events == sum(len(part.values) for part in batch.slices)


async def test_a_record_says_where_it_came_from(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(b"first", b"second")
        found = records(await read(source, 2))
    assert [(r.origin, r.raw) for r in found] == [
        (harness.origins[0], b"first"),
        (harness.origins[0], b"second"),
    ]
    assert {r.source for r in found} == {source.name}
    if harness.positions:
        assert len({r.position for r in found} - {""}) == 2


async def test_bytes_that_are_no_text_come_as_they_are(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(bytes(range(256)))
        assert raws(await read(source, 1)) == [bytes(range(256))]


async def test_what_was_settled_is_not_given_to_the_next_instance(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(b"old")
        for batch in await read(source, 1):
            await source.settle(batch)
    async with opened(harness.source()) as successor:
        harness.publish(b"new")
        assert raws(await read(successor, 1)) == [b"new"]


@KEEPERS
async def test_what_was_not_settled_is_given_to_the_next_instance(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(b"settled", b"read", b"not read")
        (batch,) = await read(source, 1, limit=1)
        await source.settle(batch)
        assert raws(await read(source, 1, limit=1)) == [b"read"]
    async with opened(harness.source()) as successor:
        assert raws(await read(successor, 2)) == [b"read", b"not read"]


async def test_opened_again_it_goes_on_after_what_was_settled(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(b"settled", b"read")
        first, *_ = await read(source, 1, limit=1)
        await source.settle(first)
        late, *_ = await read(source, 1, limit=1)
        await source.open()
        await source.settle(late)  # of the time before: to be ignored, or harmless
        harness.publish(b"new")
        again = harness.keeps and not harness.late_settling
        expected = [b"read", b"new"] if again else [b"new"]
        assert raws(await read(source, len(expected))) == expected


@pytest.mark.parametrize(
    "harness", ["memory", "http", "pubsub", "kafka"], indirect=True
)  # streams: slow
async def test_it_says_how_far_behind_it_is(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(b"1", b"2", b"3")
        batches = await read(source, 1, limit=1)
        await until(lambda: sum(source.lag().values()) == (3 if harness.keeps else 2))
        batches += await read(source, 2)
        for batch in batches:
            await source.settle(batch)
        await until(lambda: sum(source.lag().values()) == 0 and source.lag())


@WITH_TOMBSTONES
async def test_a_tombstone_is_a_record_without_a_value(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(b"a", None, b"b")
        batches = await read(source, 3)
    assert raws(batches) == [b"a", None, b"b"]
    assert sum(batch.size for batch in batches) == 2


async def test_a_stopped_source_loses_nothing_and_then_gives_none(harness: Harness) -> None:
    """Records that came in before are read now, or by the next instance."""
    async with opened(harness.source()) as source:
        harness.publish(*numbers(0, 5))
        (batch,) = await read(source, 1, limit=1)
        await source.settle(batch)
        came = [batch]
        await source.stop()
        while rest := await source.read(100):
            await source.settle(rest)
            came.append(rest)
    if harness.keeps:
        async with opened(harness.source()) as successor:
            harness.publish(b"end")
            while raws(came)[-1] != b"end":
                came += await read(successor, 1)
        assert raws(came) == [*numbers(0, 5), b"end"]


@FILLERS
async def test_a_batch_that_is_not_full_is_given_time_to_fill(harness: Harness) -> None:
    async with opened(harness.source(max_wait=600.0)) as source:
        harness.publish(b"early")
        reading = asyncio.create_task(source.read(3))
        await until(lambda: not reading.done())
        harness.publish(b"later", b"last")
        batch = await asyncio.wait_for(reading, 60)  # full: it waits no longer
        assert batch
        assert batch.events == 3


async def test_a_batch_that_does_not_fill_is_given_after_its_time(harness: Harness) -> None:
    async with opened(harness.source(max_wait=0.3)) as source:
        harness.publish(b"only")
        assert raws(await read(source, 1, limit=1000)) == [b"only"]


@FILLERS
async def test_a_stop_ends_the_wait_for_a_batch_to_fill(harness: Harness) -> None:
    async with opened(harness.source(max_wait=600.0)) as source:
        harness.publish(b"only")
        reading = asyncio.create_task(read(source, 1, limit=1000))
        _, waits = await asyncio.wait({reading}, timeout=1.0)
        assert waits, "it waits for more"
        await source.stop()
        assert raws(await asyncio.wait_for(reading, 60)) == [b"only"]


async def test_closing_leaves_no_task_and_no_connection(harness: Harness) -> None:
    before = tasks(), sockets()
    for _ in range(2):
        async with opened(harness.source()) as source:
            await source.read(1)
            await source.keep_alive()
    assert tasks() <= before[0]
    await until(lambda: sockets() <= before[1], what="every socket is closed")


async def test_closing_what_was_never_open_is_quiet(harness: Harness) -> None:
    source = harness.source()
    await source.close()
    await source.close()


async def test_an_open_that_is_cancelled_leaves_nothing(harness: Harness) -> None:
    before = tasks()
    source = harness.source()
    opening = asyncio.create_task(source.open())
    await asyncio.wait({opening}, timeout=0.02)
    opening.cancel()
    await asyncio.wait({opening})
    await source.close()
    assert tasks() <= before


async def test_keep_alive_loses_nothing(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(*numbers(0, 10))
        first = await read(source, 3, limit=3)
        for _ in range(3):
            await source.keep_alive()
        harness.publish(*numbers(10, 20))
        await source.keep_alive()
        assert raws(first + await read(source, 20 - len(raws(first)))) == numbers(0, 20)


# --- origins that are paused ---


async def settle(source: Source, batches: Sequence[Batch]) -> None:
    for batch in batches:
        await source.settle(batch)


async def take(source: Source, count: int) -> list[bytes | None]:
    """Read that many records, and settle them."""
    batches = await read(source, count, limit=1)
    await settle(source, batches)
    return raws(batches)


async def test_a_paused_origin_is_not_read_and_comes_again_when_it_is_resumed(
    harness: Harness,
) -> None:
    async with opened(harness.source()) as source:
        harness.publish(b"0")
        assert await take(source, 1) == [b"0"]
        source.pause(frozenset(harness.origins[:1]))
        harness.publish(b"1", b"2")
        for _ in range(3):
            assert await source.read(10) is None
        assert source.overflowing == frozenset()
        source.pause(frozenset())
        assert await take(source, 2) == [b"1", b"2"]
        assert await source.read(10) is None


async def test_what_was_read_and_not_settled_when_it_was_paused_is_read_again(
    harness: Harness,
) -> None:
    async with opened(harness.source()) as source:
        harness.publish(*numbers(0, 4))
        assert await take(source, 1) == [b"0"]
        early = await read(source, 2, limit=1)
        source.pause(frozenset(harness.origins[:1]))
        await settle(source, early[:1])
        assert await source.read(10) is None
        source.pause(frozenset())
        await settle(source, early[1:])
        assert await take(source, 3) == numbers(1, 4)
        assert await source.read(10) is None


@KEEPERS
async def test_what_was_paused_stays_unacknowledged(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        harness.publish(*numbers(0, 3))
        assert await take(source, 1) == [b"0"]
        late = await read(source, 2)
        source.pause(frozenset(harness.origins[:1]))
        await settle(source, late)
    async with opened(harness.source()) as successor:
        successor.pause(frozenset())
        assert await take(successor, 2) == [b"1", b"2"]


@SEVERAL
async def test_other_origins_are_read_and_settled_while_one_is_paused(harness: Harness) -> None:
    bad, good = harness.origins
    async with opened(harness.source()) as source:
        harness.publish(b"good 0", origin=1)
        harness.publish(b"bad 0")
        both = await read(source, 2)
        source.pause(frozenset({bad}))
        await settle(source, both)
        harness.publish(b"bad 1")
        harness.publish(b"good 1", origin=1)
        assert await take(source, 1) == [b"good 1"]
        source.pause(frozenset({good}))
        harness.publish(b"good 2", origin=1)
        assert await take(source, 2) == [b"bad 0", b"bad 1"]
        source.pause(frozenset())
        assert await take(source, 1) == [b"good 2"]
        assert await source.read(10) is None


@SEVERAL
async def test_an_origin_that_is_paused_while_a_read_waits_is_left_out(harness: Harness) -> None:
    async with opened(harness.source()) as source:
        reading = asyncio.create_task(source.read(10))
        await asyncio.wait({reading}, timeout=0.05)
        source.pause(frozenset(harness.origins[:1]))
        harness.publish(b"paused")
        batches = [batch for batch in [await reading] if batch]
        harness.publish(b"other", origin=1)
        batches += await read(source, 1 - len(raws(batches)))
        assert raws(batches) == [b"other"]
        source.pause(frozenset())
        assert await take(source, 1) == [b"paused"]


# --- going back after a cache may have lost writes ---


@GO_BACK
async def test_what_a_cache_may_have_lost_is_given_once_more(harness: Harness) -> None:
    fleet = Fleet("one")
    async with opened(harness.source(servers=fleet)) as source:
        harness.publish(*numbers(0, 5))
        assert await take(source, 5) == numbers(0, 5)
        fleet.identity = "two"
        harness.publish(*numbers(5, 7))
        assert await take(source, 7) == numbers(0, 7)
        assert await source.read(10) is None


@GO_BACK
async def test_servers_that_do_not_answer_for_a_while_have_lost_nothing(harness: Harness) -> None:
    fleet = Fleet("")
    async with opened(harness.source(servers=fleet)) as source:
        for identity in ("", "one", "", "one"):
            fleet.identity = identity
            harness.publish(identity.encode())
            assert await take(source, 1) == [identity.encode()]
            assert await source.read(10) is None


@GO_BACK
async def test_what_was_read_and_not_settled_when_a_cache_lost_writes_is_given_once_more(
    harness: Harness,
) -> None:
    """It may have been applied before."""
    fleet = Fleet("one")
    async with opened(harness.source(servers=fleet)) as source:
        harness.publish(*numbers(0, 4))
        assert await take(source, 2) == numbers(0, 2)
        early = await read(source, 2)
        fleet.identity = "two"
        again = await read(source, 4)
        await settle(source, [*early, *again])
        assert raws(again) == numbers(0, 4)
        assert await source.read(10) is None


@GO_BACK
async def test_a_failover_may_take_longer_than_the_window(harness: Harness) -> None:
    """While a server does not answer, no identity is known."""
    fleet = Fleet("one")
    fleet.window = 1.0
    async with opened(harness.source(servers=fleet)) as source:
        harness.publish(*numbers(0, 3))
        assert await take(source, 3) == numbers(0, 3)
        fleet.identity = ""
        down_until = time.monotonic() + 2 * fleet.window
        while time.monotonic() < down_until:
            assert await source.read(10) is None
        fleet.identity = "two"
        assert await take(source, 3) == numbers(0, 3)


@GO_BACK
async def test_an_origin_that_is_paused_goes_back_when_it_is_resumed(harness: Harness) -> None:
    fleet = Fleet("one")
    async with opened(harness.source(servers=fleet)) as source:
        harness.publish(*numbers(0, 4))
        assert await take(source, 4) == numbers(0, 4)
        fleet.identity = "two"
        first = await read(source, 1, limit=1)
        source.pause(frozenset(harness.origins[:1]))
        await settle(source, first)
        assert await source.read(10) is None
        source.pause(frozenset())
        assert await take(source, 4) == numbers(0, 4)
        assert await source.read(10) is None


@GO_BACK_LATER
async def test_what_a_cache_lost_while_no_instance_ran_is_given_to_the_next(
    harness: Harness,
) -> None:
    async with opened(harness.source(servers=Fleet("one"))) as source:
        harness.publish(*numbers(0, 5))
        await take(source, 5)
    async with opened(harness.source(servers=Fleet("two"))) as source:
        harness.publish(b"new")
        assert await take(source, 3) == numbers(0, 3)
    async with opened(harness.source(servers=Fleet("two"))) as source:
        assert await take(source, 6) == [*numbers(0, 5), b"new"], "it was not over"
    async with opened(harness.source(servers=Fleet("two"))) as source:
        harness.publish(b"newer")
        assert await take(source, 1) == [b"newer"]


@GO_BACK_LATER
async def test_going_back_takes_back_no_acknowledgement(harness: Harness) -> None:
    """An instance that watches no servers continues where all was settled."""
    fleet = Fleet("one")
    async with opened(harness.source(servers=fleet)) as source:
        harness.publish(*numbers(0, 5))
        await take(source, 5)
        fleet.identity = "two"
        assert await take(source, 2) == numbers(0, 2)
    async with opened(harness.source()) as source:
        harness.publish(b"new")
        assert await take(source, 1) == [b"new"]


async def test_a_server_may_come_late_and_go_early(away: Private) -> None:
    before = tasks()
    source = away.harness.source()
    with pytest.raises(Unavailable, match=away.server.address):
        await source.open()
    away.start()
    await source.open()
    away.harness.publish(b"here")
    for batch in await read(source, 1):
        await source.settle(batch)
    away.server.kill()
    began = time.monotonic()
    await source.close()
    assert time.monotonic() - began < CLOSE_WITHIN
    assert tasks() <= before


def sockets() -> set[str]:
    """This process's open sockets, as Linux names them."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found
