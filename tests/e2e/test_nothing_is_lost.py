"""Ended, killed, joined and left in mid-load: every key that an event named is gone at the end."""

import signal
from typing import TYPE_CHECKING

import pytest

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess
from tests.integration.piping import count_keys, order

if TYPE_CHECKING:
    import redis

EVENTS = 40_000
PARTITIONS = 4


class Load:
    """Events of which each kills one key, all keys primed as stale."""

    def __init__(self, kafka: Kafka, redis_now: "redis.Redis") -> None:
        self.kafka = kafka
        self.redis = redis_now
        self.topic = kafka.topic("load", PARTITIONS)
        self.group = unique("group")
        names = [f"order:single:o{n}" for n in range(EVENTS)]
        for at in range(0, EVENTS, 10_000):
            redis_now.mset(dict.fromkeys(names[at : at + 10_000], "stale"))

    def publish(self, share: float = 1.0) -> None:
        self.kafka.produce(self.topic, (order(n) for n in range(int(EVENTS * share))))

    def settings(self, redis_url: str) -> dict[str, str]:
        return {
            "REDIS_URL": redis_url,
            "KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "KAFKA__TOPICS": self.topic,
            "KAFKA__GROUP_ID": self.group,
            "KAFKA__START": "earliest",
            "KAFKA__SESSION_TIMEOUT": "2s",  # a killed member is missed soon
            "BATCH__MAX_EVENTS": "200",  # many batches, so that a signal falls between them
        }

    def stale(self) -> int:
        return count_keys(self.redis, "order:*")

    def await_midst(self) -> None:
        until_sync(lambda: 0 < self.stale() < EVENTS * 0.9, what="some keys are gone, not all")

    def await_end(self) -> None:
        until_sync(lambda: self.stale() == 0, what="no key is stale")
        until_sync(lambda: self.kafka.lag(self.group, self.topic) == 0, what="no lag")


@pytest.fixture
def load(kafka: Kafka, redis_now: "redis.Redis") -> Load:
    return Load(kafka, redis_now)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_ended_in_mid_load_and_started_again_nothing_is_lost(
    load: Load, run_daemon: RunDaemon, redis_url: str, number: signal.Signals
) -> None:
    load.publish()
    first = run_daemon(**load.settings(redis_url))
    load.await_midst()
    first.signal(number)
    assert first.wait() == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    left = load.stale()
    assert left > 0, "it was over before the signal"
    if number is signal.SIGTERM:  # what it applied is committed: nothing is repeated
        assert load.kafka.lag(load.group, load.topic) == left
    second = run_daemon(**load.settings(redis_url))
    load.await_end()
    assert second.stop() == 0


def test_a_member_that_joins_and_leaves_under_load_loses_nothing(
    load: Load, run_daemon: RunDaemon, redis_url: str
) -> None:
    first = run_daemon(**load.settings(redis_url)).await_ready()
    load.publish(0.3)
    second = run_daemon(**load.settings(redis_url))
    until_sync(lambda: _partitions(second) > 0, what="the second member has partitions")
    load.publish(0.6)
    assert second.stop() == 0
    load.publish()
    load.await_end()
    assert _partitions(first) == PARTITIONS
    assert first.stop() == 0
    assert not first.events("commit-refused")


def _partitions(daemon: DaemonProcess) -> int:
    """How many it was given last."""
    assigned = daemon.events("assigned")
    return len(assigned[-1]["partitions"]) if assigned else 0
