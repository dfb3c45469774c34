"""From an event that another client publishes to a key that is gone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.conftest import StartRedis
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import count_keys, dead_letters, looking, order, run

if TYPE_CHECKING:
    import redis

AllowKeys = Callable[..., None]


def test_a_kafka_event_deletes_its_key_and_its_position_is_committed(
    run_daemon: RunDaemon, kafka: Kafka, redis_url: str, redis_now: "redis.Redis"
) -> None:
    topic, group = kafka.topic(partitions=2), unique("group")
    redis_now.mset({"order:single:o1": "stale", "order:single:o2": "fresh"})
    daemon = run_daemon(
        REDIS_URL=redis_url,
        KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap,
        KAFKA__TOPICS=topic,
        KAFKA__GROUP_ID=group,
    ).await_ready()
    kafka.produce(topic, [order(1)], partition=1)
    until_sync(lambda: not redis_now.exists("order:single:o1"))
    until_sync(lambda: kafka.committed(group, topic) == {0: 0, 1: 1})
    assert redis_now.keys("order:*") == [b"order:single:o2"]
    assert daemon.stop() == 0


def test_a_published_message_deletes_its_key(
    run_daemon: RunDaemon, redis_url: str, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({f"order:single:o{n}": "stale" for n in (1, 2, 3)})
    daemon = run_daemon(
        REDIS_URL=redis_url, PUBSUB__CHANNELS="orders, shop.*", PUBSUB__SHARDED_CHANNELS="shard"
    ).await_ready()
    assert redis_now.publish("orders", order(1)) == 1
    assert redis_now.publish("shop.eu", order(2)) == 1
    run(redis_now, "SPUBLISH", "shard", order(3))
    until_sync(lambda: count_keys(redis_now) == 0)
    assert daemon.stop() == 0


def test_sources_run_side_by_side_and_each_url_is_its_own(
    run_daemon: RunDaemon, kafka: Kafka, start_redis: StartRedis
) -> None:
    topic = kafka.topic()
    cache, source, state = start_redis(), start_redis(), start_redis()
    daemon = run_daemon(
        REDIS_URL=cache.url,
        SOURCE_REDIS_URL=source.url,
        STATE_URL=state.url,
        PUBSUB__CHANNELS="orders",
        KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap,
        KAFKA__TOPICS=topic,
        KAFKA__GROUP_ID=unique("group"),
    ).await_ready()
    with looking(cache.url) as keys, looking(source.url) as bus, looking(state.url) as letters:
        keys.mset({"order:single:o1": "stale", "order:single:o2": "stale"})
        kafka.produce(topic, [order(1), b"not json"])
        assert bus.publish("orders", order(2)) == 1
        until_sync(lambda: count_keys(keys) == 0)
        (letter,) = until_sync(lambda: dead_letters(letters))
        assert (letter["origin"], letter["raw"]) == (topic, b"not json")
        assert bus.dbsize() == 0
    assert daemon.stop() == 0


def test_at_info_the_log_says_what_flowed_and_neither_keys_nor_payloads(
    run_daemon: RunDaemon, redis_url: str, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()
    redis_now.publish("orders", order("secret-7"))
    redis_now.publish("orders", b'{"type": "order.updated", "data": {"pin": "secret-8"}}')
    until_sync(lambda: daemon.settled() == 2)
    assert daemon.stop() == 0
    assert "secret" not in daemon.log()
    assert daemon.events("batch") == []
    assert sum(entry["events"] for entry in daemon.events("flow")) == 2
    (letter,) = daemon.events("dead-letter")
    assert (letter["rule"], letter["reason"]) == ("order-changed", "the event has no orderId")


def test_at_debug_each_event_is_logged_with_its_rule_and_names(
    run_daemon: RunDaemon, redis_url: str, redis_now: "redis.Redis"
) -> None:
    daemon = run_daemon(
        REDIS_URL=redis_url, PUBSUB__CHANNELS="orders", LOG__LEVEL="debug"
    ).await_ready()
    redis_now.publish("orders", order(1))
    (told,) = until_sync(lambda: daemon.events("invalidated"))
    assert (told["rule"], told["keys"]) == ("order-changed", ["order:single:o1"])
    assert daemon.stop() == 0


def test_batches_are_bounded_filled_and_their_events_limited_as_set(
    run_daemon: RunDaemon,
    kafka: Kafka,
    redis_url: str,
    redis_now: "redis.Redis",
    allow_keys: AllowKeys,
) -> None:
    allow_keys("invalidator:dead")
    topic = kafka.topic()
    kafka.produce(topic, [*(order(n) for n in range(25)), order("x" * 100)])
    daemon = run_daemon(
        REDIS_URL=redis_url,
        KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap,
        KAFKA__TOPICS=topic,
        KAFKA__GROUP_ID=unique("group"),
        KAFKA__START="earliest",
        BATCH__MAX_EVENTS="10",
        BATCH__MAX_WAIT="2s",
        BATCH__MAX_EVENT_BYTES="100",
        LOG__LEVEL="debug",
    )
    until_sync(lambda: len(daemon.events("batch")) == 3)
    assert [entry["events"] for entry in daemon.events("batch")] == [10, 10, 6]
    assert [letter["error"] for letter in dead_letters(redis_now)] == ["too-large"]
    assert daemon.stop() == 0


def test_metrics_count_what_happened(
    run_daemon: RunDaemon, redis_url: str, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    redis_now.set("order:single:o1", "stale")
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()
    for message in (order(1), orjson.dumps({"type": "other"}), b"not json"):
        redis_now.publish("orders", message)
    wanted = [
        'invalidator_events_total{outcome="applied",source="pubsub",type="order.updated"} 1.0',
        'invalidator_events_total{outcome="unmatched",source="pubsub",type="other"} 1.0',
        'invalidator_events_total{outcome="rejected",source="pubsub",type="other"} 1.0',
        'invalidator_dead_letters_total{error="not-json"} 1.0',
        "invalidator_keys_existed_total 1.0",
        "invalidator_in_flight_events 0.0",
    ]
    until_sync(lambda: all(line in daemon.admin("/metrics")[1] for line in wanted))
    assert daemon.stop() == 0
