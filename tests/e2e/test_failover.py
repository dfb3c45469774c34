"""A Redis that forgets deletions while no daemon runs, or where re-reading is switched off."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.backends.redis_server import RedisServer
from tests.conftest import StartRedis
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import looking, order

if TYPE_CHECKING:
    import redis

HALF = 100  # events before the cache goes on alone, and as many after
KEYS = [f"order:single:o{n}" for n in range(2 * HALF)]


@dataclass
class Events:
    """A source: how to publish, the settings that read it, and how many events are unsettled."""

    publish: Callable[[range], None]
    settings: dict[str, str]
    unsettled: Callable[[], int]


@pytest.fixture
def from_kafka(kafka: Kafka) -> Events:
    topic, group = kafka.topic(partitions=2), unique("group")
    return Events(
        lambda numbers: kafka.produce(topic, map(order, numbers)),
        {
            "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
            "KAFKA__TOPICS": topic,
            "KAFKA__GROUP_ID": group,
            "KAFKA__START": "earliest",
        },
        lambda: kafka.lag(group, topic),
    )


@pytest.fixture
def from_stream(redis_url: str, redis_now: "redis.Redis") -> Events:
    def publish(numbers: range) -> None:
        for number in numbers:
            redis_now.xadd("orders", {"event": order(number)})

    def unsettled() -> int:
        (group,) = redis_now.xinfo_groups("orders")
        return int(group["pending"]) + int(group["lag"])

    settings = {"STREAMS__KEYS": "orders", "STREAMS__START": "earliest"}
    return Events(publish, settings | {"SOURCE_REDIS_URL": redis_url}, unsettled)


@pytest.fixture
def events(request: pytest.FixtureRequest) -> Events:
    found: Events = request.getfixturevalue(request.param)
    return found


def stale(url: str) -> int:
    with looking(url) as now:
        return int(now.exists(*KEYS))


def prime(url: str) -> None:
    with looking(url) as now:
        now.mset(dict.fromkeys(KEYS, "stale"))


def settle(events: Events, url: str, numbers: range) -> None:
    """Publish events and wait until they are applied and acknowledged."""
    before = stale(url)
    events.publish(numbers)
    until_sync(lambda: stale(url) == before - len(numbers), what="the keys are gone")
    until_sync(lambda: events.unsettled() == 0, what="all is acknowledged")


@pytest.mark.parametrize("events", ["from_kafka", "from_stream"], indirect=True)
def test_the_next_daemon_deletes_what_came_back_while_none_ran(
    events: Events, start_redis: StartRedis, run_daemon: RunDaemon
) -> None:
    cache = start_redis()
    prime(cache.url)
    save(cache)
    daemon = run_daemon(REDIS_URL=cache.url, **events.settings).await_ready()
    settle(events, cache.url, range(2 * HALF))
    assert daemon.stop() == 0
    cache.kill()
    cache.start()
    assert stale(cache.url) == 2 * HALF
    again = run_daemon(REDIS_URL=cache.url, **events.settings)
    until_sync(lambda: stale(cache.url) == 0, what="what came back is gone")
    assert again.stop() == 0


def save(server: RedisServer) -> None:
    with looking(server.url) as now:
        now.save()


def test_nothing_is_read_again_where_that_is_switched_off(
    from_kafka: Events, start_redis: StartRedis, run_daemon: RunDaemon
) -> None:
    cache = start_redis()
    prime(cache.url)
    save(cache)
    daemon = run_daemon(REDIS_URL=cache.url, REWIND="0", **from_kafka.settings).await_ready()
    settle(from_kafka, cache.url, range(HALF))
    cache.kill()
    cache.start()
    settle(from_kafka, cache.url, range(HALF, 2 * HALF))
    assert (stale(cache.url), daemon.metric("invalidator_rewinds_total")) == (HALF, 0)
    assert daemon.stop() == 0
