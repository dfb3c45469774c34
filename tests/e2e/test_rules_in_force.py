"""Rules that change while the daemon runs, broken rules, and a dry run."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.e2e.conftest import RULES, RunDaemon
from tests.integration.piping import count_keys, order

if TYPE_CHECKING:
    import redis


def test_changed_rules_are_in_force_for_the_next_event(
    run_daemon: RunDaemon, rules_file: Path, redis_url: str, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({"order:single:o1": 1, "order:v2:o2": 1})
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()
    redis_now.publish("orders", order(1))
    until_sync(lambda: not redis_now.exists("order:single:o1"))
    rules_file.write_text(RULES.replace("order:single:", "order:v2:"))
    accepted, *_ = until_sync(lambda: daemon.events("rules-reloaded"))
    redis_now.publish("orders", order(2))
    until_sync(lambda: count_keys(redis_now) == 0)
    assert accepted["rules"] in daemon.admin("/metrics")[1]
    assert daemon.stop() == 0


def test_broken_rules_leave_the_old_ones_in_force_and_fixed_ones_are_loaded(
    run_daemon: RunDaemon, rules_file: Path, redis_url: str, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({"order:single:o1": 1})
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()
    rules_file.write_text(RULES.replace("keys:", "keyz:"))
    (refused,) = until_sync(lambda: daemon.events("rules-rejected"))
    assert "rules.yaml:5:" in refused["problems"][0]
    assert "invalidator_rules_reload_ok 0.0" in daemon.admin("/metrics")[1]
    redis_now.publish("orders", order(1))
    until_sync(lambda: count_keys(redis_now) == 0)
    rules_file.write_text(RULES + "# mended\n")
    until_sync(lambda: daemon.events("rules-reloaded"))
    assert "invalidator_rules_reload_ok 1.0" in daemon.admin("/metrics")[1]
    assert daemon.stop() == 0


def test_rules_without_a_cache_that_has_its_own_redis_are_rejected(
    run_daemon: RunDaemon, rules_file: Path, redis_url: str
) -> None:
    """Renamed, the cache would silently be looked for on another Redis."""
    rules_file.write_text(RULES + "caches: {users: {}}\n")
    daemon = run_daemon(
        REDIS_URL=redis_url, PUBSUB__CHANNELS="orders", CACHES__USERS=redis_url
    ).await_ready()
    rules_file.write_text(RULES + "caches: {user: {}}\n")
    (refused,) = until_sync(lambda: daemon.events("rules-rejected"))
    assert "did you mean INVALIDATOR_CACHES__USER?" in refused["problems"][0]
    assert daemon.stop() == 0


def test_rules_whose_tests_fail_are_not_loaded(
    run_daemon: RunDaemon, rules_file: Path, redis_url: str
) -> None:
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()
    wrong = "tests:\n  - {event: {type: order.updated, data: {orderId: a}}, expect: nothing}\n"
    rules_file.write_text(RULES + wrong)
    until_sync(lambda: daemon.events("rules-rejected"))
    assert daemon.stop() == 0


def test_a_configmaps_symlink_swap_is_seen(
    run_daemon: RunDaemon, tmp_path: Path, redis_url: str
) -> None:
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        text = RULES if number == 1 else RULES.replace("single", "double")
        (tmp_path / f"v{number}" / "rules.yaml").write_text(text)
    data = tmp_path / "..data"
    data.symlink_to("v1")
    (tmp_path / "mounted.yaml").symlink_to(data / "rules.yaml")
    daemon = run_daemon(
        REDIS_URL=redis_url, PUBSUB__CHANNELS="c", RULES=str(tmp_path / "mounted.yaml")
    ).await_ready()
    swap = tmp_path / "..tmp"
    swap.symlink_to("v2")
    os.replace(swap, data)
    until_sync(lambda: daemon.events("rules-reloaded"))
    assert daemon.stop() == 0


def test_a_sighup_reads_the_rules_again(
    run_daemon: RunDaemon, rules_file: Path, redis_url: str
) -> None:
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()
    daemon.signal(signal.SIGHUP)
    accepted, *_ = until_sync(lambda: daemon.events("rules-reloaded"))
    assert accepted["rules"] == accepted["before"]
    assert daemon.stop() == 0


def test_the_last_good_rules_are_used_where_they_are_broken_at_the_start(
    run_daemon: RunDaemon,
    rules_file: Path,
    tmp_path: Path,
    redis_url: str,
    redis_now: "redis.Redis",
) -> None:
    settings = {
        "REDIS_URL": redis_url,
        "PUBSUB__CHANNELS": "orders",
        "RULES_LAST_GOOD": str(tmp_path / "last-good.json"),
    }
    assert run_daemon(**settings).await_ready().stop() == 0
    rules_file.write_text("rules: [")
    redis_now.set("order:single:o1", 1)
    daemon = run_daemon(**settings).await_ready()
    assert daemon.events("rules-rejected")
    redis_now.publish("orders", order(1))
    until_sync(lambda: count_keys(redis_now) == 0)
    assert daemon.stop() == 0


def test_a_copy_of_the_rules_that_cannot_be_stored_is_reported(
    run_daemon: RunDaemon, tmp_path: Path, redis_url: str
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    daemon = run_daemon(
        REDIS_URL=redis_url, PUBSUB__CHANNELS="orders", RULES_LAST_GOOD=str(kept)
    ).await_ready()
    (said,) = daemon.events("last-good-rules-not-kept")
    assert said["reason"] == f"{kept}: Is a directory"
    daemon.signal(signal.SIGHUP)
    until_sync(lambda: len(daemon.events("last-good-rules-not-kept")) == 2)
    assert daemon.stop() == 0


def test_a_dry_run_tells_what_it_would_do_and_does_nothing(
    run_daemon: RunDaemon, kafka: Kafka, redis_url: str, redis_now: "redis.Redis"
) -> None:
    topic, group = kafka.topic(), unique("group")
    redis_now.set("order:single:o1", 1)
    kafka.produce(topic, [order(1), b"not json"])
    daemon = run_daemon(
        "--dry-run",
        REDIS_URL=redis_url,
        KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap,
        KAFKA__TOPICS=topic,
        KAFKA__GROUP_ID=group,
        KAFKA__START="earliest",
        LOG__LEVEL="debug",
    )
    (told,) = until_sync(lambda: daemon.events("invalidated"))
    assert told["keys"] == ["order:single:o1"]
    until_sync(lambda: daemon.events("would-reject"))
    assert daemon.stop() == 0
    assert redis_now.keys() == [b"order:single:o1"]
    for name in (group, f"{group}-dry-run"):
        assert kafka.committed(name, topic) == {}
