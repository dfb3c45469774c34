"""A rule with verify: stale entries are found, listed and explained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.backends import until_sync
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess, run_program
from tests.integration.piping import AllowKeys, event

if TYPE_CHECKING:
    import redis

RULES = """
rules:
  - name: order-changed
    on: order.updated
    invalidate: {keys: ["order:single:{orderId}"]}
    verify: {cached: version, event: version}
"""


def findings(daemon: DaemonProcess) -> list[dict[str, Any]]:
    return list(json.loads(daemon.admin("/freshness")[1])["findings"])


def test_a_stale_entry_is_found_a_second_after_its_event_and_explained(
    run_daemon: RunDaemon,
    redis_url: str,
    redis_now: "redis.Redis",
    tmp_path: Path,
    allow_keys: AllowKeys,
) -> None:
    allow_keys("order:single:*")
    (tmp_path / "rules.yaml").write_text(RULES)
    daemon = run_daemon(
        RULES=str(tmp_path / "rules.yaml"),
        REDIS_URL=redis_url,
        PUBSUB__CHANNELS="orders",
        FRESHNESS__SAMPLE="1",
        FRESHNESS__DELAYS="1s",
    ).await_ready()
    redis_now.set("order:single:o1", b'{"version": 1}')
    redis_now.publish("orders", event(orderId="o1", version=2))
    until_sync(lambda: not redis_now.exists("order:single:o1"))
    redis_now.set("order:single:o1", b'{"version": 1}', ex=600)  # a reader was slow

    (finding,) = until_sync(lambda: findings(daemon))
    assert (finding["key"], finding["why"]) == ("order:single:o1", "slow-reader")

    code, said = run_program("freshness", "--url", daemon.admin_url())
    assert code == 1
    assert "no nine shown yet, 1 of 1 stale" in said
    assert "stale  order:single:o1  cache default, rule order-changed" in said
    assert "order.updated, pubsub orders" in said
    assert "written back by a slow reader" in said
    assert "s to live, at most" in said
    assert daemon.metric("invalidator_freshness_checks_total", outcome="stale", delay="1s") == 1
    assert "order:single" not in daemon.log(), "names are not logged"
    assert daemon.stop() == 0
