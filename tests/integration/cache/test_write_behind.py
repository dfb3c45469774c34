"""Writes are journalled before the call returns, and flushed in batches by one process."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from operator import add
from typing import Any

import pytest

from invalidator.cache import BadName, Cache, CacheUnavailable, CodecError, SyncCache
from invalidator.cache.behind import (
    Flush,
    FlushRejected,
    SyncWriteBehind,
    WriteBehind,
    latest,
)
from invalidator.cache.behind.plan import FIX, Call, Plan
from invalidator.cache.steps import drive, drive_sync
from tests.backends.redis_server import RedisServer
from tests.backends.waiting import LIMIT, until

JOURNAL = "invalidator:behind:{shop:views}"
QUICK = {"interval": "20ms", "lease": "200ms"}

Write = Callable[[Flush], object]


class Target:
    """What is flushed into; it ignores a token that it has seen, as a table would."""

    def __init__(self) -> None:
        self.flushes: list[Flush] = []
        self.rows: dict[str, Any] = {}
        self.tokens: set[str] = set()
        self.fail: Callable[[Flush], None] = lambda _: None

    def write(self, flush: Flush) -> None:
        self.flushes.append(flush)
        self.fail(flush)
        if flush.token not in self.tokens:
            self.tokens.add(flush.token)
            for key, value in flush.rows.items():
                self.rows[key] = self.rows.get(key, 0) + value


class Behind:
    """A journal of either world, called in the same way."""

    def __init__(self, cache: Cache | SyncCache, write: Write, **options: Any) -> None:
        self.made: WriteBehind | SyncWriteBehind
        if isinstance(cache, Cache):

            async def flush(batch: Flush) -> None:
                write(batch)

            self.made = WriteBehind(cache, "views", flush, **options)
        else:
            self.made = SyncWriteBehind(cache, "views", write, **options)
        self.stats = self.made.stats

    async def call(self, name: str, *args: Any) -> Any:
        method = getattr(self.made, name)
        if isinstance(self.made, WriteBehind):
            return await method(*args)
        return await asyncio.to_thread(method, *args)

    async def write(self, key: str, value: Any = 1) -> None:
        await self.call("write", key, value)

    async def drain(self) -> None:
        self.made.start()
        await self.call("stop")


@pytest.fixture(params=["asyncio", "threads"])
async def cache(request: pytest.FixtureRequest, server: RedisServer) -> AsyncIterator[Any]:
    world = Cache if request.param == "asyncio" else SyncCache
    made = world.from_url(server.url, prefix="shop:")
    yield made
    closed = made.close()
    if closed is not None:
        await closed


@pytest.fixture
def target() -> Target:
    return Target()


async def test_a_write_is_journalled_when_its_call_returns(
    cache: Any, target: Target, now: Any
) -> None:
    behind = Behind(cache, target.write)
    await behind.write("home")
    assert now.xlen(JOURNAL) == 1
    assert target.flushes == []


async def test_writes_are_merged_and_flushed_when_the_interval_is_over(
    cache: Any, target: Target, now: Any
) -> None:
    behind = Behind(cache, target.write, **QUICK)
    for key in ("home", "home", "about"):
        await behind.write(key)
    await behind.write("home", 5)
    behind.made.start()
    await until(lambda: target.rows == {"home": 7, "about": 1})
    await until(lambda: not now.xlen(JOURNAL))
    await behind.call("stop")


async def test_a_full_batch_does_not_wait_for_the_interval(cache: Any, target: Target) -> None:
    behind = Behind(cache, target.write, size=3, interval="10m")
    behind.made.start()
    for number in range(4):
        await behind.write(f"row {number}")
    await until(lambda: len(target.rows) == 3)
    assert [len(flush.rows) for flush in target.flushes] == [3]
    await behind.call("stop")
    assert len(target.rows) == 4


async def test_what_is_called_at_the_same_time_shares_an_entry(
    cache: Any, target: Target, now: Any
) -> None:
    behind = Behind(cache, target.write, size=40)
    await asyncio.gather(*(behind.write(f"row {number % 50}") for number in range(500)))
    assert behind.stats.written == 500
    assert now.xlen(JOURNAL) < 500
    await behind.drain()
    assert target.rows == {f"row {number}": 10 for number in range(50)}
    assert max(len(flush.rows) for flush in target.flushes) <= 40


async def test_stop_drains(cache: Any, target: Target, now: Any) -> None:
    behind = Behind(cache, target.write, interval="10m")
    await behind.write("home")
    await behind.drain()
    assert target.rows == {"home": 1}
    assert now.xlen(JOURNAL) == 0
    again = Behind(cache, target.write, interval="10m")  # the lease was given up
    await again.write("home")
    await again.drain()
    assert target.rows == {"home": 2}


async def test_the_latest_write_of_a_row_counts(cache: Any) -> None:
    seen: dict[str, Any] = {}
    behind = Behind(cache, lambda flush: seen.update(flush.rows), merge=latest)
    for place in ([1, 2], [3, 4]):
        await behind.write("rider 7", place)
    await behind.drain()
    assert seen == {"rider 7": [3, 4]}


async def test_a_flush_that_fails_is_repeated_with_its_rows_and_its_token(
    cache: Any, target: Target
) -> None:
    def fail_twice(_: Flush) -> None:
        if len(target.flushes) <= 2:
            raise ConnectionError("the database is down")

    target.fail = fail_twice
    behind = Behind(cache, target.write, **QUICK)
    behind.made.start()
    await behind.write("home")
    await until(lambda: len(target.flushes) == 1)
    await behind.write("home")
    await until(lambda: target.rows == {"home": 2})
    first, second, third, *_ = target.flushes
    assert first.token == second.token == third.token
    assert first.rows == second.rows == third.rows == {"home": 1}
    assert behind.stats.failures == 2
    await behind.call("stop")


async def test_the_pause_after_a_failure_has_an_upper_limit(
    cache: Any, target: Target, now: Any
) -> None:
    def fail(_: Flush) -> None:
        raise ConnectionError("the database has been down for days")

    target.fail = fail
    behind = Behind(cache, target.write)
    await behind.write("home")
    now.hset(f"{JOURNAL}:flusher", "failures", 100_000)
    await behind.drain()
    left = int(now.hget(f"{JOURNAL}:flusher", "until")) - 1000 * now.time()[0]
    assert 20_000 < left <= 31_000
    assert now.hget(f"{JOURNAL}:flusher", "failures") == b"100001"


async def test_a_batch_whose_entries_are_gone_is_ended_without_a_call(
    cache: Any, target: Target, now: Any
) -> None:
    behind = Behind(cache, target.write)
    now.hset(f"{JOURNAL}:flusher", mapping={"token": "t", "last": "1-1"})
    await behind.write("home")
    await behind.drain()
    assert [dict(flush.rows) for flush in target.flushes] == [{"home": 1}]


async def test_a_batch_that_was_flushed_and_not_removed_is_repeated_with_its_token(
    cache: Any, target: Target, now: Any
) -> None:
    """As after a crash between the target's commit and the removal."""

    def crash(flush: Flush) -> None:
        target.write(flush)
        raise KeyboardInterrupt

    class Dying(Behind):
        async def die(self) -> None:
            turn: Any = self.made._plan.turn(drain=True)
            with pytest.raises(KeyboardInterrupt):
                await self.take(turn)

        async def take(self, turn: Any) -> None:
            if isinstance(self.made, WriteBehind):
                await drive(turn, self.made._answer)
            else:
                await asyncio.to_thread(drive_sync, turn, self.made._answer)

    dying = Dying(cache, crash, **QUICK)
    await dying.write("home")
    await dying.die()
    assert target.rows == {"home": 1}
    await dying.write("home")
    other = Behind(cache, target.write, **QUICK)
    other.made.start()
    await until(lambda: target.rows == {"home": 2})
    await other.call("stop")
    assert [dict(flush.rows) for flush in target.flushes] == [{"home": 1}] * 3
    assert target.flushes[0].token == target.flushes[1].token != target.flushes[2].token
    assert now.xlen(JOURNAL) == 0


async def test_only_the_row_that_is_rejected_becomes_a_dead_letter(
    cache: Any, target: Target, now: Any
) -> None:
    def reject(flush: Flush) -> None:
        if "bad" in flush.rows:
            raise FlushRejected("no such page")

    target.fail = reject
    behind = Behind(cache, target.write)
    for key in ("home", "bad", "about"):
        await behind.write(key, 2)
    await behind.drain()
    assert target.rows == {"home": 2, "about": 2}
    ((_, letter),) = now.xrange("invalidator:dead")
    assert letter[b"key"] == b"bad"
    assert letter[b"headers"] == b'[["value","2"]]'
    assert now.xlen(JOURNAL) == 0
    assert (behind.stats.rows, behind.stats.rejected) == (2, 1)


async def test_errors_of_a_class_may_mean_rejected(cache: Any, target: Target, now: Any) -> None:
    def reject(_: Flush) -> None:
        raise ZeroDivisionError

    target.fail = reject
    behind = Behind(cache, target.write, reject_on=(ArithmeticError,))
    await behind.write("home")
    await behind.drain()
    assert now.xlen("invalidator:dead") == 1


async def test_one_process_flushes_at_a_time(cache: Any, target: Target) -> None:
    several = [Behind(cache, target.write, **QUICK) for _ in range(3)]
    for behind in several:
        behind.made.start()
    for number in range(60):
        await several[number % 3].write("home")
    await until(lambda: target.rows == {"home": 60})
    await asyncio.gather(*(behind.call("stop") for behind in several))
    assert Counter(flush.token for flush in target.flushes).most_common(1)[0][1] == 1


async def test_a_write_fails_where_redis_does_not_answer(
    cache: Any, target: Target, server: RedisServer
) -> None:
    behind = Behind(cache, target.write)
    server.kill()
    with pytest.raises(CacheUnavailable):
        await behind.write("home")


async def test_the_flusher_survives_a_redis_that_is_down(
    cache: Any, target: Target, server: RedisServer
) -> None:
    behind = Behind(cache, target.write, **QUICK)
    behind.made.start()
    server.kill()
    with pytest.raises(CacheUnavailable):
        await behind.write("home")
    server.start()

    async def written() -> bool:
        try:
            await behind.write("home")
        except CacheUnavailable:
            return False
        return True

    await until(written)
    await until(lambda: target.rows == {"home": 1})
    await behind.call("stop")


async def test_what_cannot_be_journalled_fails_its_own_call(cache: Any, target: Target) -> None:
    behind = Behind(cache, target.write)
    good, bad = await asyncio.gather(
        behind.write("home"), behind.write("home", object()), return_exceptions=True
    )
    assert good is None
    assert isinstance(bad, CodecError)
    with pytest.raises(BadName):
        WriteBehind(cache, "{views}", lambda _: asyncio.sleep(0))


async def test_it_works_on_a_cluster(cluster_caller: Any, target: Target) -> None:
    behind = Behind(cluster_caller.cache, target.write, merge=add)
    await behind.write("home")
    await behind.write("home", 3)
    await behind.drain()
    assert target.rows == {"home": 4}


async def test_who_hangs_up_takes_nobody_along(server: RedisServer, target: Target) -> None:
    async def flush(batch: Flush) -> None:
        target.write(batch)

    cache = Cache.from_url(server.url, prefix="shop:")
    behind = WriteBehind(cache, "views", flush)
    await behind.write("warm")
    first = asyncio.create_task(behind.write("first"))
    await asyncio.sleep(0)  # it is sending
    others = [asyncio.create_task(behind.write(f"other {number}")) for number in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    others[0].cancel()
    await asyncio.gather(*others[1:])
    with pytest.raises(asyncio.CancelledError):
        await first
    await behind.write("last")
    behind.start()
    await behind.stop()
    assert {"other 1", "other 2", "last"} <= set(target.rows)
    assert set(target.rows.values()) == {1}
    await cache.close()


async def test_a_flusher_ends_when_it_is_cancelled_whatever_the_function_makes_of_it(
    server: RedisServer,
) -> None:
    """As when asyncio.run ends; psycopg raises OperationalError instead if its server is gone."""
    entered = asyncio.Event()

    async def flush(_: Flush) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise ConnectionError("the connection was closed") from error

    cache = Cache.from_url(server.url, prefix="shop:")
    behind = WriteBehind(cache, "views", flush, **QUICK)
    behind.start()
    await behind.write("home")
    await entered.wait()
    flusher = behind._flusher
    assert flusher is not None
    flusher.cancel()
    async with asyncio.timeout(LIMIT):
        with pytest.raises(asyncio.CancelledError):
            await flusher
    await cache.close()


# --- a flusher that was thought dead --------------------------------------------------------


class Stepped:
    """A flusher whose turn stops wherever a test says."""

    def __init__(self, server: RedisServer, target: Target) -> None:
        self._cache = SyncCache.from_url(server.url)
        self._target = target
        self.plan = Plan("shop:", "views", lease="1h")
        self._turn = self.plan.turn(drain=True)
        self._answer: Any = None

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        """Take steps; return the first request that is wanted, unanswered. None: the turn ended."""
        while True:
            try:
                request = self._turn.send(self._answer)
            except StopIteration:
                self._cache.close()
                return None
            if wanted(request):
                return request
            self.answer(request)

    def answer(self, request: Any) -> None:
        if isinstance(request, Call):
            self._target.write(request.flush)
        else:
            self._answer = self._cache.driver.send(request.commands)

    def finish(self) -> None:
        self.until(lambda _: False)


def calls(request: Any) -> bool:
    return isinstance(request, Call)


def fixes(request: Any) -> bool:
    return not calls(request) and FIX.sha in request.commands[0]


def test_a_late_flusher_does_not_end_the_batch_of_another(
    server: RedisServer, target: Target, now: Any
) -> None:
    cache = SyncCache.from_url(server.url, prefix="shop:")
    writer = SyncWriteBehind(cache, "views", target.write)
    writer.write("home")
    late = Stepped(server, target)
    late.answer(late.until(calls))
    now.hdel(f"{JOURNAL}:flusher", "owner", "until")  # its lease runs out
    Stepped(server, target).finish()
    writer.write("home")
    now.hdel(f"{JOURNAL}:flusher", "owner", "until")
    dying = Stepped(server, target)
    batch = dying.until(calls)
    dying.answer(batch)
    late.finish()
    now.hdel(f"{JOURNAL}:flusher", "owner", "until")
    Stepped(server, target).finish()
    assert target.flushes[-1].token == batch.flush.token
    assert target.rows == {"home": 2}
    assert now.xlen(JOURNAL) == 0
    cache.close()


def test_a_late_flusher_does_not_fix_what_another_has_flushed(
    server: RedisServer, target: Target, now: Any
) -> None:
    cache = SyncCache.from_url(server.url, prefix="shop:")
    SyncWriteBehind(cache, "views", target.write).write("home")
    cache.close()
    late = Stepped(server, target)
    fix = late.until(fixes)
    now.hdel(f"{JOURNAL}:flusher", "owner", "until")
    Stepped(server, target).finish()
    late.answer(fix)
    assert late.until(calls) is None
    assert target.rows == {"home": 1}
