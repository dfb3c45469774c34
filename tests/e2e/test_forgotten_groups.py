"""A group that vanishes while the daemon is down: no event is lost in silence."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import count_keys, event

if TYPE_CHECKING:
    import redis

RULES = """rules:
  - {name: order, on: order.updated, invalidate: {keys: "order:{orderId}"}}
  - {name: lost, on: invalidator.gap, when: cause != "start", invalidate: {keys: "gap:{cause}"}}
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return str(path)


def fill(now: "redis.Redis") -> None:
    now.mset({f"order:{number}": "stale" for number in range(300)})


def events(first: int, end: int) -> list[bytes]:
    return [event(orderId=number) for number in range(first, end)]


def test_a_kafka_group_that_expired(
    run_daemon: RunDaemon, kafka: Kafka, redis_url: str, redis_now: "redis.Redis", rules: str
) -> None:
    topic, group = kafka.topic(partitions=2), unique("group")
    settings = {
        "RULES": rules,
        "REDIS_URL": redis_url,
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA__TOPICS": topic,
        "KAFKA__GROUP_ID": group,
        "KAFKA__START": "latest",
    }
    fill(redis_now)
    daemon = run_daemon(**settings)
    until_sync(lambda: kafka.committed(group, topic))
    kafka.produce(topic, events(0, 10))
    until_sync(lambda: count_keys(redis_now, "order:*") == 290)
    assert daemon.stop() == 0
    kafka.produce(topic, events(10, 300))
    kafka.admin.delete_consumer_groups([group])[group].result(60)
    daemon = run_daemon(**settings)
    until_sync(lambda: count_keys(redis_now, "order:*") == 0)
    assert daemon.stop() == 0


@pytest.mark.parametrize("lost", ["group", "stream"])
def test_the_group_of_a_stream_that_was_deleted(
    run_daemon: RunDaemon, redis_url: str, redis_now: "redis.Redis", rules: str, lost: str
) -> None:
    client: Any = redis_now
    settings = {"RULES": rules, "REDIS_URL": redis_url, "STREAMS__KEYS": "orders"}
    fill(redis_now)
    redis_now.set("gap:stream-vanished", "stale")
    daemon = run_daemon(**settings).await_ready()
    add(redis_now, 0, 10)
    until_sync(lambda: count_keys(redis_now, "order:*") == 290)
    until_sync(lambda: client.xpending("orders", "invalidator")["pending"] == 0)
    assert daemon.stop() == 0
    add(redis_now, 10, 300)
    if lost == "group":
        assert client.xgroup_destroy("orders", "invalidator") == 1
    else:
        redis_now.delete("orders")
    daemon = run_daemon(**settings)
    if lost == "group":
        until_sync(lambda: count_keys(redis_now, "order:*") == 0)
    else:
        until_sync(lambda: not redis_now.exists("gap:stream-vanished"))
    assert daemon.stop() == 0


def add(now: "redis.Redis", first: int, end: int) -> None:
    for raw in events(first, end):
        now.xadd("orders", {"event": raw, "id": orjson.dumps(first)})
