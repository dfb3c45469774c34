"""The test backends themselves: what other tests rely on."""

import asyncio
import os
from collections.abc import Callable

import pytest
import redis

from tests.backends import until, until_sync
from tests.backends.choose import missing
from tests.backends.kafka_client import Kafka, unique
from tests.backends.leaks import Leaks
from tests.conftest import StartKafka, StartRedis


async def test_until_waits_for_a_plain_and_for_an_async_condition() -> None:
    seen: list[int] = []

    async def third() -> str | None:
        seen.append(1)
        return "here" if len(seen) == 3 else None

    assert await until(third) == "here"
    assert await until(lambda: len(seen)) == 3


async def test_until_says_what_it_waited_for_even_if_the_condition_hangs() -> None:
    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(AssertionError, match=r"not within 0.05 s: the moon is full"):
        await until(hangs, 0.05, "the moon is full")
    with pytest.raises(AssertionError, match="last seen: 0"):
        until_sync(lambda: 0, 0.05)


def test_a_test_gets_an_empty_redis_and_leaves_ordinary_keys(redis_now: redis.Redis) -> None:
    assert redis_now.dbsize() == 0
    redis_now.set("order:1", "left here for the next test to miss")
    assert redis_now.exists("order:1") == 1


def test_the_next_test_misses_what_the_last_one_left(redis_now: redis.Redis) -> None:
    assert redis_now.exists("order:1") == 0


def test_an_undeclared_key_of_ours_is_a_leak(
    redis_now: redis.Redis, redis_leaks: Leaks, allow_keys: Callable[..., None]
) -> None:
    redis_now.set("invalidator:work:7", 1)
    redis_now.set("invalidator:dead", 1)
    allow_keys("invalidator:dead")
    with pytest.raises(AssertionError, match=r"\['invalidator:work:7'\]"):
        redis_leaks.check()
    allow_keys("invalidator:work:*")
    redis_leaks.check()


def test_a_connection_that_stays_open_is_a_leak(redis_url: str, redis_leaks: Leaks) -> None:
    if "TEST_REDIS_URL" in os.environ:
        pytest.skip("a server that others use has connections of theirs")
    with redis.Redis.from_url(redis_url) as client:
        client.ping()
        with pytest.raises(AssertionError, match="every connection of the test is closed"):
            redis_leaks.check(within=0.1)


def test_a_private_redis_keeps_its_port_over_a_kill_and_its_data_over_a_restart(
    start_redis: StartRedis,
) -> None:
    server = start_redis(config={"appendonly": "yes"})
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        client.set("k", "v")
        server.kill()
        assert server.ping() == b""
        server.start()
        assert client.get("k") == "v"
        first = client.info("server")["run_id"]
        server.restart()
        assert client.get("k") == "v"
        assert client.info("server")["run_id"] != first


def test_a_frozen_redis_answers_only_once_thawed(start_redis: StartRedis) -> None:
    server = start_redis()
    server.freeze()
    assert server.ping() == b""
    server.thaw()
    until_sync(lambda: server.ping() == b"+PONG\r\n")


def test_a_server_that_cannot_start_shows_its_log(start_redis: StartRedis) -> None:
    with pytest.raises(RuntimeError, match="maxmemory"):
        start_redis(config={"maxmemory": "plenty"})


def test_records_and_committed_offsets_can_be_seen(kafka: Kafka) -> None:
    topic, group = kafka.topic(partitions=2), unique("group")
    kafka.produce(topic, ["a", b"b", None], partition=0, key="k", headers={"h": "1"})
    kafka.produce(topic, ["c"], partition=1, codec="zstd")
    assert kafka.ends(topic) == {0: 3, 1: 1}
    assert kafka.committed(group, topic) == {}
    assert kafka.lag(group, topic) == 4
    records = [found for found in kafka.read(topic, 4) if found.partition() == 0]
    assert [found.value() for found in records] == [b"a", b"b", None]
    assert records[0].headers() == [("h", b"1")]


def test_partitions_can_be_added(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.add_partitions(topic, 3)
    assert kafka.ends(topic) == {0: 0, 1: 0, 2: 0}


def test_a_private_broker_comes_back_with_its_records(start_kafka: StartKafka) -> None:
    broker = start_kafka(config={"auto.create.topics.enable": "false"})
    kafka = Kafka(broker.bootstrap)
    topic = kafka.topic()
    kafka.produce(topic, ["kept"])
    broker.kill()
    broker.start()
    assert [record.value() for record in kafka.read(topic, 1)] == [b"kept"]


def test_a_missing_backend_is_a_failure_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REQUIRE_BACKENDS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install redis-server"):
        missing("install redis-server")
    monkeypatch.setenv("REQUIRE_BACKENDS", "1")
    with pytest.raises(pytest.fail.Exception, match="install redis-server"):
        missing("install redis-server")
