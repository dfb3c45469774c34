"""A Redis Stream that vanishes, an event that kills, a second pass that comes too late."""

from pathlib import Path
from typing import Any

import redis

from tests.backends import until_sync
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import order

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


def test_a_second_pass_beyond_the_drain_is_left_to_the_next_start(
    redis_url: str, redis_now: "redis.Redis", rules_file: Path, run_daemon: RunDaemon
) -> None:
    rule = "name: r\n    on: order.updated\n    invalidate: {keys: 'order:single:{orderId}'}\n"
    rules_file.write_text(f"rules:\n  - {rule}    repeat_after: 1h\n")
    settings = {"REDIS_URL": redis_url, "STREAMS__KEYS": KEY, "STREAMS__START": "earliest"}
    settings |= {"DRAIN_TIMEOUT": "5m", "STREAMS__GROUP": "caches"}
    redis_now.set("order:single:o1", "stale")
    redis_now.xadd(KEY, {"event": order(1)})
    daemon = run_daemon(**settings).await_ready()
    (said,) = daemon.events("second-pass-outlasts-drain")
    assert "the second pass comes 1h after the first" in said["meaning"]
    until_sync(lambda: not redis_now.exists("order:single:o1"))
    assert daemon.stop() == 3, "it does not wait for what it cannot do"
    (said,) = daemon.events("stopped")
    assert (said["unsettled"], said["settled"].partition(":")[0]) == (1, "not all that was read")
    redis_now.set("order:single:o1", "refilled")
    rules_file.write_text(f"rules:\n  - {rule}    repeat_after: 100ms\n")
    daemon = run_daemon(**settings).await_ready()
    until_sync(lambda: daemon.events("flow"))
    pending: Any = redis_now.xpending(KEY, "caches")
    assert (pending["pending"], redis_now.exists("order:single:o1")) == (0, 0)
    assert daemon.stop() == 0
