"""A Redis that forgets what was deleted: after a failover, or with an old snapshot."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.backends.redis_server import RedisServer
from tests.conftest import StartCluster, StartRedis, StartSentinel
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess
from tests.integration.piping import looking, order

if TYPE_CHECKING:
    import redis

HALF = 100  # events before the cache goes on alone, and as many after
KEYS = [f"order:single:o{n}" for n in range(2 * HALF)]


@dataclass
class Events:
    """Where events are published, the settings that read them, and how many are not settled."""

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
def from_channel(redis_url: str, redis_now: "redis.Redis") -> Events:
    def publish(numbers: range) -> None:
        for number in numbers:
            assert redis_now.publish("orders", order(number)) == 1

    settings = {"PUBSUB__CHANNELS": "orders", "SOURCE_REDIS_URL": redis_url}
    return Events(publish, settings, lambda: 0)


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
    """They are applied and acknowledged."""
    before = stale(url)
    events.publish(numbers)
    until_sync(lambda: stale(url) == before - len(numbers), what="the keys are gone")
    until_sync(lambda: events.unsettled() == 0, what="all is acknowledged")


def deleted(daemon: DaemonProcess) -> int:
    """Keys that were there when they were deleted."""
    return sum(batch["existed"] for batch in daemon.events("batch"))


def rewinds(daemon: DaemonProcess) -> int:
    told = daemon.admin("/metrics")[1]
    return sum(
        int(float(n)) for n in re.findall(r"^invalidator_rewinds_total\{.*\} (\S+)", told, re.M)
    )


@pytest.mark.parametrize(
    "events",
    ["from_kafka", pytest.param("from_stream", marks=pytest.mark.slow), "from_channel"],
    indirect=True,
)
def test_a_redis_that_comes_back_with_an_old_snapshot_holds_nothing_stale(
    events: Events, start_redis: StartRedis, run_daemon: RunDaemon
) -> None:
    cache = start_redis()
    prime(cache.url)
    daemon = run_daemon(REDIS_URL=cache.url, **events.settings).await_ready()
    settle(events, cache.url, range(HALF))
    until_sync(lambda: noted(cache))
    save(cache)
    settle(events, cache.url, range(HALF, 2 * HALF))
    cache.kill()
    cache.start()
    until_sync(lambda: rewinds(daemon), what="it reads again")
    until_sync(lambda: stale(cache.url) == 0, what="what came back is gone")
    (said,) = daemon.events("read-again")
    assert "another process now" in said["why"]
    assert daemon.stop() == 0


@pytest.mark.parametrize("events", ["from_kafka", "from_stream"], indirect=True)
def test_what_came_back_while_no_daemon_ran_is_found_by_the_next(
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


def test_a_replica_that_takes_over_without_what_was_deleted_last_holds_nothing_stale(
    from_kafka: Events, start_sentinel: StartSentinel, run_daemon: RunDaemon
) -> None:
    watched = start_sentinel()
    primary, replica = watched.primary, watched.replica
    prime(primary.url)
    daemon = run_daemon(REDIS_URL=watched.url, **from_kafka.settings).await_ready()
    settle(from_kafka, primary.url, range(HALF))
    until_sync(lambda: stale(replica.url) == HALF, what="the replica has it")
    cut_off(primary, replica)
    settle(from_kafka, primary.url, range(HALF, 2 * HALF))
    primary.kill()
    replica.thaw()
    until_sync(lambda: deleted(daemon) == 3 * HALF, what="it came back, and was deleted again")
    assert stale(replica.url) == 0
    assert from_kafka.unsettled() == 0, "no commit went backwards"
    assert rewinds(daemon) == 1
    assert daemon.stop() == 0


def test_a_primary_of_a_cluster_that_is_replaced_holds_nothing_stale(
    from_kafka: Events, start_cluster: StartCluster, run_daemon: RunDaemon
) -> None:
    cluster = start_cluster(node_timeout_ms=1000)
    cluster.put(KEYS, "stale")
    daemon = run_daemon(REDIS_URL=cluster.url, **from_kafka.settings).await_ready()
    from_kafka.publish(range(HALF))
    until_sync(lambda: primaries_have(cluster.servers[:3]) == HALF)
    cut_off(cluster.servers[0], cluster.servers[3])
    from_kafka.publish(range(HALF, 2 * HALF))
    until_sync(lambda: primaries_have(cluster.servers[:3]) == 0)
    until_sync(lambda: from_kafka.unsettled() == 0)
    cluster.servers[0].kill()
    cluster.servers[3].thaw()
    until_sync(lambda: rewinds(daemon), what="it reads again")
    until_sync(lambda: primaries_have(cluster.servers[1:4]) == 0, what="what came back is gone")
    assert daemon.stop() == 0


def primaries_have(servers: list[RedisServer]) -> int:
    found = 0
    for server in servers:
        with looking(server.url) as now:
            found += len([*now.scan_iter("order:*", count=1000)])
    return found


def cut_off(primary: RedisServer, replica: RedisServer) -> None:
    """What is deleted from now on it does not see."""
    replica.freeze()
    with looking(primary.url) as now:
        now.client_kill_filter(_type="replica", skipme=False)


def save(server: RedisServer) -> None:
    with looking(server.url) as now:
        now.save()


def noted(server: RedisServer) -> bool:
    with looking(server.url) as now:
        return bool(now.keys("invalidator:moment:*"))


def test_a_cache_that_nobody_watches_is_left_alone(
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
    assert (stale(cache.url), noted(cache), rewinds(daemon)) == (HALF, False, 0)
    assert daemon.stop() == 0
