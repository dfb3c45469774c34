"""What the daemon knows of a Redis that failed over or was restarted."""

import math
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from invalidator.errors import Unavailable
from invalidator.redisclient import client
from invalidator.targets.redis.failover import Moments
from invalidator.targets.redis.rewind import MARGIN, Watch
from tests.backends import until
from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_server import RedisServer
from tests.backends.server import free_port
from tests.conftest import StartRedis
from tests.integration.piping import looking, run

if TYPE_CHECKING:
    import redis


@asynccontextmanager
async def watching(*urls: str) -> AsyncIterator[Watch]:
    """Looked twice: who it is, and the first note."""
    clients = [client(url, 1.0) for url in urls]
    watch = Watch([Moments(each, "the cache") for each in clients], 3600.0)
    try:
        await watch.look()
        await watch.look()
        yield watch
    finally:
        for each in clients:
            await each.aclose()


@contextmanager
def now_and_later() -> Iterator[list[float]]:
    span = [time.time()]
    yield span
    span.append(time.time())


async def remembered(watch: Watch, era: str) -> float:
    """Until when, without the margin."""
    return await watch.since(era) + MARGIN


async def another(watch: Watch, before: str) -> str:
    """Look until it is another era; why."""

    async def looked() -> bool:
        try:
            await watch.look()
        except Unavailable:
            return False
        return watch.current != before

    await until(looked)
    return watch.why


def is_between(moment: float, span: list[float]) -> bool:
    return span[0] - 0.001 <= moment <= span[1]


async def test_who_stays_forgets_nothing(redis_url: str) -> None:
    async with watching(redis_url) as watch, watching(redis_url) as other:
        era = watch.current
        await watch.look()
        assert watch.current == era
        assert await watch.since(era) == math.inf
        assert await watch.since(other.current) == math.inf
        assert await watch.since("") == math.inf, "an era of which nobody wrote"


async def test_a_snapshot_remembers_until_the_note_that_is_in_it(start_redis: StartRedis) -> None:
    server = start_redis()
    with now_and_later() as span:
        async with watching(server.url) as watch:
            era = watch.current
    with looking(server.url) as now:
        now.save()
    async with watching(server.url) as watch:
        later = watch.current
        server.kill()
        server.start()
        assert "another process" in await another(watch, later)
        assert is_between(await remembered(watch, era), span)
        assert await watch.since(later) == -math.inf, "its note came after the snapshot"
        # Whoever comes now finds the same, however long the others have been there.
        await watch.look()
        async with watching(server.url) as late:
            assert is_between(await remembered(late, era), span)


@pytest.mark.parametrize("config", [{"appendonly": "yes"}, {"save": "3600 1"}], ids=["aof", "rdb"])
async def test_an_orderly_restart_remembers_nearly_all(
    start_redis: StartRedis, config: dict[str, str]
) -> None:
    server = start_redis(config=config)
    with now_and_later() as span:
        async with watching(server.url) as watch:
            era = watch.current
            server.restart()
            await another(watch, era)
    async with watching(server.url) as watch:
        assert is_between(await remembered(watch, era), span)


async def test_a_backup_of_another_day_remembers_until_that_day(start_redis: StartRedis) -> None:
    server = start_redis()
    dump = server.directory / "dump.rdb"
    with now_and_later() as span:
        async with watching(server.url) as watch:
            era = watch.current
            with looking(server.url) as now:
                now.save()
                shutil.copy(dump, server.directory / "backup")
                watch._hosts[0].worked = True
                await watch.look()
                now.save()
            server.kill()
            shutil.copy(server.directory / "backup", dump)
            server.start()
            await another(watch, era)
            first = await remembered(watch, era)
    assert is_between(first, span)


async def test_a_note_is_written_only_when_something_was_deleted(
    redis_url: str, redis_now: "redis.Redis"
) -> None:
    async with watching(redis_url) as watch:
        (key,) = redis_now.keys("invalidator:moment:*")
        noted = redis_now.get(key)
        assert 0 < redis_now.ttl(key) <= 7 * 86_400
        await watch.look()
        assert redis_now.get(key) == noted
        watch._hosts[0].worked = True
        await until(lambda: int(time.time() * 1000) > int(noted or 0))
        await watch.look()
        assert redis_now.get(key) != noted


async def test_a_cache_that_is_full_takes_no_note_and_the_last_one_counts(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    with now_and_later() as span:
        async with watching(server.url) as watch:
            era = watch.current
    async with watching(server.url) as watch:
        with looking(server.url) as now:
            now.config_set("maxmemory", 1)
            watch._hosts[0].worked = True
            await watch.look()
            assert watch._hosts[0].worked
            now.config_set("maxmemory", 0)
            now.save()
        server.kill()
        server.start()
        await another(watch, watch.current)
        assert is_between(await remembered(watch, era), span)


async def test_while_one_of_several_is_away_nothing_is_said_of_any(
    redis_url: str, start_redis: StartRedis
) -> None:
    server = start_redis()
    async with watching(redis_url, server.url) as watch:
        era = watch.current
        server.kill()
        with pytest.raises(Unavailable):
            await watch.look()
        assert watch.current == era
        server.start()
        await watch.look()
        assert watch.current != era
        assert await watch.since(era) == -math.inf


async def test_a_primary_of_a_cluster_that_comes_with_slots_of_others_is_no_failover(
    cluster: RedisCluster,
) -> None:
    """Slots that move take keys along, and the notes with them."""
    async with watching(cluster.url) as watch:
        era = watch.current
        assert cluster.keys() == 3, "each primary has a note"
        cluster.move_slot(0, 0, 1)
        try:
            await watch.look()
            assert watch.current == era
        finally:
            cluster.move_slot(0, 1, 0)


async def test_a_cluster_without_all_slots_is_looked_at_as_far_as_it_goes(
    start_redis: StartRedis,
) -> None:
    bus = {"cluster-port": str(free_port()), "cluster-require-full-coverage": "no"}
    server = start_redis(config={"cluster-enabled": "yes", **bus})
    with looking(server.url) as now:
        run(now, "CLUSTER", "ADDSLOTSRANGE", "0", "100")
        async with watching(f"redis+cluster://{server.address}") as watch:
            assert watch.current

            async def noted() -> bool:
                await watch.look()
                return len(now.keys("invalidator:moment:*")) == 1

            await until(noted, what="it is a cluster now, and takes a note")


def test_only_what_may_pass_by_itself_is_waited_for() -> None:
    """A proxy, say, that knows no INFO must not hold up everything."""
    moments = Moments(client("redis://127.0.0.1:1/0", 1.0), "a proxy")
    with capture_logs() as logs:
        moments._unless_forbidden(ResponseError("unsupported command 'info'"))
    assert logs[0]["event"] == "failovers-go-unnoticed"
    with pytest.raises(Unavailable, match="LOADING"):
        moments._unless_forbidden(ResponseError("LOADING Redis is loading the dataset in memory"))


async def test_a_server_that_answers_no_such_question_is_said_once(
    start_redis: StartRedis,
) -> None:
    server: RedisServer = start_redis(config={"rename-command": 'INFO ""'})
    with capture_logs() as logs:
        async with watching(server.url) as watch:
            assert watch.current
            assert await watch.since("of.another") == -math.inf
    said = [entry for entry in logs if entry["event"] == "failovers-go-unnoticed"]
    assert len(said) == 1
    assert "INFO" in said[0]["reason"]
