"""Dead letters are bounded in bytes, and by the clock of their Redis."""

import os
import zlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from invalidator.deadletters import DeadLetters
from invalidator.deadletters.entry import LARGE, Letter, letter_of
from invalidator.deadletters.retention import Bounds
from invalidator.deadletters.shelf import Choice, DeadLetterStream
from invalidator.model import Fault, Record, Rejection
from invalidator.redisclient import client
from tests.backends import until
from tests.conftest import StartRedis
from tests.integration.piping import RULES, AllowKeys, order, piping, rules_from

if TYPE_CHECKING:
    from pathlib import Path

    import redis


def rejected(raw: bytes) -> Rejection:
    return Rejection(Record("kafka", "t", "0@1", raw), None, (Fault("not-json", "bad"),))


async def stored(url: str) -> list[Letter]:
    async with aclosing(DeadLetterStream(client(url, 5), "here")) as stream:
        return [letter async for letter in stream.chosen(Choice())]


async def put(url: str, bounds: Bounds, *raws: bytes, clock: Any = None) -> None:
    more = {"clock": clock} if clock else {}
    async with aclosing(DeadLetters(client(url, 5), "here", bounds=bounds, **more)) as letters:
        await letters.probe()
        for raw in raws:
            await letters.put([rejected(raw)], "rules")


async def test_a_large_event_is_stored_compressed_and_read_whole(
    redis_url: str, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    raw = b'{"type": "' + b"x" * (1 << 20) + b'"}'
    await put(redis_url, Bounds(), raw)
    (letter,) = await stored(redis_url)
    assert (letter.record.raw, letter.size, letter.lacks) == (raw, len(raw), "")
    assert (redis_now.memory_usage("invalidator:dead") or 0) < LARGE


async def test_of_a_large_event_that_cannot_be_compressed_the_beginning_is_stored(
    redis_url: str, allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    raw = os.urandom(1 << 20)
    await put(redis_url, Bounds(), raw)
    (letter,) = await stored(redis_url)
    assert letter.record.raw is None
    assert letter.start == raw[:LARGE]
    assert f"of its {len(raw):,} bytes" in letter.lacks
    assert letter.sha256 in letter.lacks


def test_an_entry_that_unpacks_to_more_than_it_says_is_cut() -> None:
    bomb = zlib.compress(bytes(1 << 24))
    letter = letter_of(b"1-0", {b"raw_zlib": bomb, b"raw_size": b"1000"})
    assert letter.record.raw == bytes(1000)


async def test_beyond_the_bound_in_bytes_the_oldest_are_removed(
    redis_url: str, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    with capture_logs() as logs:
        await put(redis_url, Bounds(size=1 << 20), *(os.urandom(60_000) for _ in range(60)))
    assert (redis_now.memory_usage("invalidator:dead") or 0) < (1 << 20) + 200_000
    assert 5 < redis_now.xlen("invalidator:dead") < 20
    removed = [line for line in logs if line["event"] == "dead-letters-removed"]
    assert [line["bound"] for line in removed] == ["bytes"]


async def test_a_clock_that_is_weeks_ahead_removes_no_dead_letter(
    redis_url: str, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    now = redis_now.time()[0]
    ahead = lambda: now + 40 * 86400.0  # noqa: E731
    await put(redis_url, Bounds(age=30 * 86400.0), b"one", clock=ahead)
    await put(redis_url, Bounds(age=30 * 86400.0), b"two", clock=ahead)
    assert redis_now.xlen("invalidator:dead") == 2


async def test_good_events_are_applied_though_unreadable_ones_would_fill_the_cache(
    start_redis: StartRedis, tmp_path: "Path"
) -> None:
    server = start_redis(config={"maxmemory": "40mb", "maxmemory-policy": "noeviction"})
    state = DeadLetters(
        client(server.url, 5), "the state", bounds=Bounds(size=64 << 20), is_cache=True
    )
    await state.probe()
    async with piping(rules_from(RULES, tmp_path), server.url, dead=state, timeout=5) as bench:
        for number in range(200):
            bench.source.publish(b"\xff" + os.urandom(500_000), order(number))
        await until(lambda: bench.source.settled == 400)
    await state.aclose()
