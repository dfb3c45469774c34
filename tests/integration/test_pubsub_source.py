"""Redis pub/sub on real servers: what breaks a link, and what is lost then."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import orjson
import pytest
import redis
from structlog.testing import capture_logs

from invalidator.errors import Unavailable
from invalidator.redisclient import client, node
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.sources.pubsub.link import Link
from invalidator.sources.pubsub.source import PubSubSource
from tests.backends import until
from tests.backends.redis_server import RedisServer
from tests.backends.waiting import LIMIT
from tests.contract.harness import raws, read, records, tasks

Make = Callable[..., PubSubSource]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """`make(url, *channels)`: a subscriber, closed at the end."""
    async with AsyncExitStack() as stack:

        def new(
            url: str,
            *channels: str,
            buffer: int = 1000,
            max_bytes: int = 1 << 20,
            part: Part | None = None,
        ) -> PubSubSource:
            source = PubSubSource(
                client(url, timeout=1.0),
                channels,
                part=part or Part("pubsub"),
                buffer=buffer,
                max_bytes=max_bytes,
                max_wait=0.0,
                clock=lambda: 1700000000.5,
            )
            stack.push_async_callback(source.close)
            return source

        yield new


async def broken(source: PubSubSource, seconds: float = LIMIT) -> str:
    """What `read` says once it raises."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            await source.read(10)
        except Unavailable as error:
            return str(error)
    raise AssertionError(f"read did not raise within {seconds:g} s")


def gaps(cause: str) -> float:
    return float(metrics.GAPS.labels("pubsub", cause)._value.get())


async def next_gaps(source: PubSubSource) -> list[dict[str, Any]]:
    """What the events of the next gaps say: a read of no messages gives them alone."""
    batch = await source.read(0)
    while not batch or not batch.own:
        batch = await source.read(0)
    return [orjson.loads(record.raw or b"")["data"] for record in batch.records()]


def kill_links(server: "redis.Redis") -> None:
    assert raw(server, "CLIENT", "KILL", "TYPE", "pubsub") > 0


def raw(server: "redis.Redis", *command: str) -> Any:
    return server.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_channels_and_globs_are_heard_together(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, "orders", "items:*", "user?")
    await source.open()
    for channel in ("orders", "items:eu", "users", "orders:eu", "other"):
        redis_now.publish(channel, channel)
    found = records(await read(source, 3))
    assert {(r.origin, r.raw) for r in found} == {
        ("orders", b"orders"),
        ("items:eu", b"items:eu"),
        ("users", b"users"),
    }
    assert {r.time_ms for r in found} == {1700000000500}


async def test_a_channel_whose_name_is_no_text_is_heard(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, "raw:*")
    await source.open()
    redis_now.publish(b"raw:\xff\xfe", b"value")
    (record,) = records(await read(source, 1))
    assert record.origin == "raw:\\xff\\xfe"


async def test_what_came_before_a_link_broke_is_read_first(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    part = Part("pubsub")
    source = make(redis_url, "orders", part=part)
    await source.open()
    redis_now.publish("orders", "one")
    redis_now.publish("orders", "two")
    kill_links(redis_now)
    await until(lambda: part.reason, what="the break is noticed")
    assert raws(await read(source, 2, limit=1)) == [b"one", b"two"]
    assert "pubsub" in await broken(source)


async def test_a_link_that_was_opened_again_is_a_gap(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    before = gaps("reconnected")
    source = make(redis_url, "orders")
    with capture_logs() as logs:
        await source.open()
        assert gaps("reconnected") == before
        kill_links(redis_now)
        await broken(source)
        redis_now.publish("orders", "lost")
        await source.open()
    assert gaps("reconnected") == before + 1
    said = [log for log in logs if log["event"].startswith("source-")]
    assert [(log["event"], log.get("cause"), log["log_level"]) for log in said] == [
        ("source-started", None, "info"),
        ("source-gap", "reconnected", "warning"),
    ]
    told = await next_gaps(source)
    assert [data["cause"] for data in told] == ["reconnected"]
    assert 0 <= told[0]["seconds"] < LIMIT
    redis_now.publish("orders", "heard")
    assert raws(await read(source, 1)) == [b"heard"]


async def test_a_buffer_that_overflows_is_one_gap_and_keeps_the_newest(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    before = gaps("overflow")
    source = make(redis_url, "orders", buffer=10)
    await source.open()
    for number in range(50):
        redis_now.publish("orders", f"{number}")
    await until(lambda: source._buffer and source._buffer[-1].value == b"49")
    assert gaps("overflow") == before + 1
    start, told = await next_gaps(source)
    assert (start["cause"], start["seconds"]) == ("start", None)
    assert (told["cause"], told["channels"], told["events"]) == ("overflow", ["orders"], 40)
    assert raws(await read(source, 10)) == [b"%d" % number for number in range(40, 50)]


async def test_large_messages_overflow_by_their_bytes(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, "orders", max_bytes=1000)
    await source.open()
    for number in range(5):
        redis_now.publish("orders", f"{number}" * 400)
    await until(lambda: source._buffer and source._buffer[-1].value[:1] == b"4")
    assert [told["events"] for told in await next_gaps(source)] == [None, 3]
    assert raws(await read(source, 2)) == [b"3" * 400, b"4" * 400]
    redis_now.publish("orders", "5" * 2000)
    assert raws(await read(source, 1)) == [b"5" * 2000], "one alone is given, however large"
    for number in (6, 7):
        redis_now.publish("orders", f"{number}" * 400)
    assert raws(await read(source, 2)) == [b"6" * 400, b"7" * 400], "what was read takes no room"


async def test_a_stream_of_messages_without_a_pause_is_read_on(redis_url: str, make: Make) -> None:
    """Messages are a sign of life: no PING waits behind them."""
    source = make(redis_url, "orders", buffer=100_000)
    await source.open()

    def publish() -> None:
        with redis.Redis.from_url(redis_url, protocol=2) as publisher:
            for first in range(0, 20_000, 500):
                with publisher.pipeline(transaction=False) as pipe:
                    for number in range(first, first + 500):
                        pipe.publish("orders", f"{number}")
                    pipe.execute()

    publishing = asyncio.create_task(asyncio.to_thread(publish))
    found = raws(await read(source, 20_000, limit=1000))
    await publishing
    assert found == [b"%d" % number for number in range(20_000)]


async def test_a_message_that_comes_while_we_subscribe_is_kept(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    """It may lie between the confirmations of the first channel and of the last."""
    source = make(redis_url, "first", "last:*")
    link = await Link.to(await node(source._client))
    await link._connection.send_command("SUBSCRIBE", "first")
    await until(lambda: redis_now.publish("first", "early"))
    await link._connection.send_command("PSUBSCRIBE", "last:*")
    await link.confirm(2, source._take)
    await link.close()
    assert raws(await read(source, 1)) == [b"early"]


def waits(source: PubSubSource, count: int) -> bool:
    return source.lag() == {("", ""): count}


async def test_paused_channels_overflow_their_window_and_lose_nothing(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    source = make(redis_url, "orders", "items", buffer=20)
    await source.open()
    source.pause(frozenset({"orders", "items"}))
    for channel, waiting in (("orders", 15), ("items", 30)):
        for number in range(15):
            redis_now.publish(channel, f"{number}")
        await until(partial(waits, source, waiting))
        batch = await source.read(10)
        assert batch is None or batch.events == 0
    assert source.overflowing == {"orders"}
    source.pause(frozenset({"items"}))
    assert raws(await read(source, 15)) == [b"%d" % number for number in range(15)]
    await until(lambda: source.overflowing == frozenset())
    source.pause(frozenset())
    assert raws(await read(source, 15)) == [b"%d" % number for number in range(15)]


@pytest.mark.parametrize("command", [("UNSUBSCRIBE", "orders"), ("RESET",)])
async def test_a_link_that_is_no_longer_subscribed_is_broken(
    redis_url: str, make: Make, command: tuple[str, ...]
) -> None:
    source = make(redis_url, "orders")
    await source.open()
    await source._links[0]._connection.send_command(*command)
    assert "no longer subscribed" in await broken(source)


async def test_a_reader_without_the_right_to_a_channel_is_told_so(
    redis_url: str, redis_now: "redis.Redis", make: Make
) -> None:
    before = tasks()
    rights = ["on", ">secret", "+@all", "~*", "resetchannels", "&items"]
    raw(redis_now, "ACL", "SETUSER", "reader", *rights)
    try:
        url = redis_url.replace("redis://", "redis://reader:secret@")
        source = make(url, "items", "orders")
        with pytest.raises(Unavailable, match=r"no permissions to access.*channel"):
            await source.open()
        raw(redis_now, "ACL", "SETUSER", "reader", "&orders")
        await source.open()
        await source.close()
    finally:
        raw(redis_now, "ACL", "DELUSER", "reader")
    assert tasks() <= before


async def test_a_server_that_freezes_is_found_and_one_that_restarts_is_heard_again(
    start_redis: Callable[..., RedisServer], make: Make
) -> None:
    server = start_redis()
    part = Part("pubsub")
    source = make(server.url, "orders", part=part)
    await source.open()
    assert part.reason == ""
    server.freeze()
    assert "no answer to a PING" in await broken(source)
    with pytest.raises(Unavailable, match=server.address):
        await source.open()
    server.thaw()
    await source.open()
    server.kill()
    await broken(source)
    with pytest.raises(Unavailable, match=server.address):
        await source.open()
    server.start()
    await source.open()
    assert part.reason == ""
    with redis.Redis.from_url(server.url, protocol=2) as publisher:
        publisher.publish("orders", "again")
    assert raws(await read(source, 1)) == [b"again"]


async def test_a_silent_link_lives_on_by_its_pings(
    redis_url: str, redis_now: "redis.Redis", make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.sources.pubsub.link.PING_EVERY", 0.05)
    source = make(redis_url, "orders")
    await source.open()

    def pings() -> int:
        return int(redis_now.info("commandstats").get("cmdstat_ping", {}).get("calls", 0))

    before = pings()
    await until(lambda: pings() >= before + 5)
    redis_now.publish("orders", "heard")
    assert raws(await read(source, 1)) == [b"heard"]
