"""Events from a Redis Stream to keys that are gone, whatever ends in between."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.backends import until_sync
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess
from tests.integration.piping import count_keys, dead_letters, event, order

EVENTS = 20_000
KEY = "load"


class Load:
    """Events of which each kills one key, all keys primed as stale."""

    def __init__(self, url: str, now: "redis.Redis") -> None:
        self.url = url
        self.now = now
        names = [f"order:single:o{n}" for n in range(EVENTS)]
        for at in range(0, EVENTS, 10_000):
            now.mset(dict.fromkeys(names[at : at + 10_000], "stale"))

    def publish(self) -> None:
        with redis.Redis.from_url(self.url, protocol=2) as publisher:
            for at in range(0, EVENTS, 1000):
                with publisher.pipeline(transaction=False) as pipe:
                    for number in range(at, at + 1000):
                        pipe.xadd(KEY, {"event": order(number)})
                    pipe.execute()

    def settings(self, consumer: str) -> dict[str, str]:
        return {
            "REDIS_URL": self.url,
            "STREAMS__KEYS": KEY,
            "STREAMS__CONSUMER": consumer,
            "STREAMS__START": "earliest",
            "STREAMS__CLAIM_AFTER": "2s",  # a killed consumer is missed soon
            "BATCH__MAX_EVENTS": "200",  # many batches, so that a signal falls between them
        }

    def stale(self) -> int:
        return count_keys(self.now, "order:*")

    def pending(self) -> int:
        found: Any = self.now.xpending(KEY, "invalidator")
        return int(found["pending"])

    def await_end(self) -> None:
        until_sync(lambda: self.stale() == 0, what="no key is stale")
        until_sync(lambda: self.pending() == 0, what="nothing is pending")


@pytest.fixture
def load(redis_url: str, redis_now: "redis.Redis") -> Load:
    return Load(redis_url, redis_now)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_ended_in_mid_load_and_started_under_another_name_nothing_is_lost(
    load: Load, run_daemon: RunDaemon, number: signal.Signals
) -> None:
    load.publish()
    first = run_daemon(**load.settings("first"))
    until_sync(lambda: 0 < load.stale() < EVENTS * 0.9, what="some keys are gone, not all")
    first.signal(number)
    assert first.wait() == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    assert load.stale() > 0, "it was over before the signal"
    if number is signal.SIGTERM:
        assert load.pending() == 0
    second = run_daemon(**load.settings("second"))
    load.await_end()
    assert second.stop() == 0


def test_members_that_come_and_go_under_load_lose_nothing(
    load: Load, run_daemon: RunDaemon
) -> None:
    first = run_daemon(**load.settings("first")).await_ready()
    second = run_daemon(**load.settings("second")).await_ready()
    load.publish()
    second.signal(signal.SIGKILL)
    second.wait()
    load.await_end()
    assert first.stop() == 0


GAP_RULES = """\
version: 1
rules:
  - {name: order-changed, on: order.updated, invalidate: {keys: ["order:single:{orderId}"]}}
  - {name: missed, on: invalidator.gap, invalidate: {versions: ["{channel}"]}}
"""


def test_a_gap_raises_the_version_that_a_rule_names(
    redis_url: str, redis_now: "redis.Redis", run_daemon: RunDaemon, rules_file: Path
) -> None:
    rules_file.write_text(GAP_RULES)
    daemon = run_daemon(
        REDIS_URL=redis_url, STREAMS__KEYS="orders", PUBSUB__CHANNELS="news"
    ).await_ready()
    until_sync(lambda: redis_now.get("cache:version:news"), what="a start of pub/sub is a gap")
    assert redis_now.get("cache:version:orders") is None
    redis_now.delete("orders")
    until_sync(lambda: redis_now.get("cache:version:orders"), what="a vanished stream is one, too")
    counted = daemon.admin("/metrics")[1]
    assert 'invalidator_gaps_total{cause="stream-vanished",source="stream"} 1.0' in counted
    assert daemon.stop() == 0


DEADLY = """\
import os, sys
from invalidator.cli import main
from invalidator.rules import RuleSet

plan = RuleSet.plan

def deadly(self, batch, **limits):
    if any(b"deadly" in (record.raw or b"") for record in batch.records()):
        os._exit(99)
    return plan(self, batch, **limits)

RuleSet.plan = deadly
sys.exit(main(["run"]))
"""


def test_an_event_that_ends_every_process_becomes_a_dead_letter(
    redis_url: str,
    redis_now: "redis.Redis",
    rules_file: Path,
    allow_keys: Callable[..., None],
) -> None:
    allow_keys("invalidator:dead")
    for number in range(20):
        redis_now.set(f"order:single:o{number}", "stale")
        redis_now.xadd(KEY, {"event": order(number)})
    redis_now.xadd(KEY, {"event": event(orderId="deadly")})
    settings = {"RULES": str(rules_file), "REDIS_URL": redis_url, "STREAMS__KEYS": KEY}
    settings |= {"STREAMS__START": "earliest", "BATCH__MAX_EVENTS": "7"}
    settings |= {"STREAMS__GROUP": "caches"}
    deaths = 0
    daemon = DaemonProcess(settings, command=[sys.executable, "-c", DEADLY])
    try:
        while not redis_now.exists("invalidator:dead"):
            if daemon.process.poll() is not None:
                assert daemon.process.returncode == 99, daemon.log()
                deaths += 1
                daemon.close()
                daemon = DaemonProcess(settings, command=[sys.executable, "-c", DEADLY])
        until_sync(lambda: not redis_now.keys("order:single:*"), what="the others are applied")
        assert daemon.stop() == 0
    finally:
        daemon.close()
    assert deaths == 5
    groups: Any = redis_now.xinfo_groups(KEY)
    assert [group["name"] for group in groups] == [b"caches"]
    (letter,) = dead_letters(redis_now)
    assert letter["raw"] == event(orderId="deadly")
    assert [fault["error"] for fault in letter["faults"]] == ["poison"]


def test_a_second_pass_that_a_drain_cannot_wait_for_is_left_to_the_next_start(
    redis_url: str, redis_now: "redis.Redis", rules_file: Path, run_daemon: RunDaemon
) -> None:
    rule = "name: r\n    on: order.updated\n    invalidate: {keys: 'order:single:{orderId}'}\n"
    rules_file.write_text(f"rules:\n  - {rule}    repeat_after: 1h\n")
    settings = {"REDIS_URL": redis_url, "STREAMS__KEYS": KEY, "STREAMS__START": "earliest"}
    settings |= {"DRAIN_TIMEOUT": "5m"}
    redis_now.set("order:single:o1", "stale")
    redis_now.xadd(KEY, {"event": order(1)})
    daemon = run_daemon(**settings).await_ready()
    (said,) = daemon.events("second-pass-outlasts-drain")
    assert "the second pass comes 1h after the first" in said["meaning"]
    until_sync(lambda: not redis_now.exists("order:single:o1"))
    assert daemon.stop() == 3, "it does not wait for what it cannot do"
    (said,) = daemon.events("stopped")
    assert (said["batches"], said["settled"].partition(":")[0]) == (1, "not all that was read")
    redis_now.set("order:single:o1", "refilled")
    rules_file.write_text(f"rules:\n  - {rule}    repeat_after: 100ms\n")
    daemon = run_daemon(**settings).await_ready()
    until_sync(lambda: daemon.events("batch"))
    pending: Any = redis_now.xpending(KEY, "invalidator")
    assert (pending["pending"], redis_now.exists("order:single:o1")) == (0, 0)
    assert daemon.stop() == 0
