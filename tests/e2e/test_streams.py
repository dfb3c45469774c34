"""A Redis Stream that vanishes, an event that kills, a second pass that comes too late."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from tests.backends import until_sync
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess
from tests.integration.piping import dead_letters, event, order

KEY = "load"


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


def test_a_second_pass_beyond_the_drain_is_left_to_the_next_start(
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
