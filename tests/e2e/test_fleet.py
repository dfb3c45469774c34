"""Three daemons share a topic, and are replaced one after the other while events keep coming."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import redis

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess
from tests.integration.piping import looking

MEMBERS, PARTITIONS = 3, 6
EVERY = 0.01  # seconds between two events
LISTS_EVERY = 50  # every so many events, one with a pattern
LONGEST = 20.0  # seconds that an entry may stay stale: a rebalance, on a busy machine

RULES = """\
version: 1
rules:
  - {name: order, on: order.updated, invalidate: {keys: "order:single:{orderId}"}}
  - {name: lists, on: order.listed, invalidate: {patterns: "order:list:{orderId}:*"}}
"""


class Load:
    """Caches an entry, publishes the event that makes it stale, and notes when it is gone."""

    def __init__(self, kafka: Kafka, topic: str, url: str) -> None:
        self.latencies: list[float] = []
        self._left: dict[str, float] = {}  # entries, and when their event was published
        self._kafka, self.topic, self._url = kafka, topic, url
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._publish, name="publish"),
            threading.Thread(target=self._look, name="look"),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Stop publishing, and wait until every entry is gone."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _publish(self) -> None:
        producer = self._kafka.producer({"linger.ms": 0})
        with looking(self._url) as cache:
            number = 0
            while not self._stopping.wait(EVERY):
                number += 1
                listed = number % LISTS_EVERY == 0
                key = f"order:list:{number}:a" if listed else f"order:single:{number}"
                cache.set(key, "stale")
                kind = "order.listed" if listed else "order.updated"
                event = {"type": kind, "data": {"orderId": number}}
                self._left[key] = time.monotonic()
                producer.produce(self.topic, orjson.dumps(event), str(number))
                producer.poll(0)
        producer.flush()

    def _look(self) -> None:
        deadline = time.monotonic() + 300
        with looking(self._url) as cache:
            while not (
                self._stopping.is_set() and not self._left and not self._threads[0].is_alive()
            ):
                assert time.monotonic() < deadline, f"never gone: {list(self._left)[:10]}"
                self._note_gone(cache)
                time.sleep(0.02)

    def _note_gone(self, cache: "redis.Redis") -> None:
        waiting = list(self._left)
        values = cache.mget(waiting) if waiting else []
        now = time.monotonic()
        for key, value in zip(waiting, values, strict=True):
            if value is None:
                self.latencies.append(now - self._left.pop(key))


@pytest.fixture
def fleet_rules(rules_file: Path) -> None:
    rules_file.write_text(RULES)


@pytest.fixture
def load(kafka: Kafka, redis_url: str) -> Iterator[Load]:
    load = Load(kafka, kafka.topic(partitions=PARTITIONS), redis_url)
    yield load
    load.finish()


@pytest.mark.slow
def test_a_rolling_deployment_under_load_loses_nothing_and_delays_little(
    run_daemon: RunDaemon, fleet_rules: None, load: Load, kafka: Kafka, redis_url: str
) -> None:
    group = unique("group")

    def member() -> DaemonProcess:
        return run_daemon(
            REDIS_URL=redis_url,
            KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap,
            KAFKA__TOPICS=load.topic,
            KAFKA__GROUP_ID=group,
        )

    members = [member().await_ready() for _ in range(MEMBERS)]
    until_sync(lambda: len(kafka.committed(group, load.topic)) == PARTITIONS)
    load.start()
    until_sync(lambda: len(load.latencies) > 500)
    steady = max(load.latencies)
    for old in list(members):
        members.append(member().await_ready())  # as a Deployment with maxSurge 1 does it
        before = len(load.latencies)
        until_sync(lambda least=before + 100: len(load.latencies) > least)  # type: ignore[misc]
        assert old.stop() == 0
        members.remove(old)
    after = len(load.latencies)
    until_sync(lambda: len(load.latencies) > after + 500)
    load.finish()
    late = sorted(load.latencies)
    print(
        f"{len(late)} events; steady: {steady:.2f} s at most; rolling: "
        f"p50 {late[len(late) // 2]:.3f}, p99 {late[len(late) * 99 // 100]:.2f}, "
        f"{late[-1]:.2f} s at most"
    )
    assert late[-1] < LONGEST
    until_sync(lambda: kafka.lag(group, load.topic) == 0)
    assert [each.stop() for each in members] == [0] * MEMBERS
