"""The daemon keeps dead letters within their bounds, and out of them what may not be stored."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.cli import main
from tests.backends import until_sync
from tests.backends.kafka_client import Kafka
from tests.conftest import StartRedis
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import PROGRAM, DaemonProcess, run_program
from tests.integration.piping import dead_letters, event, looking, order

if TYPE_CHECKING:
    import redis


def test_bounds_are_kept_and_reported_and_secrets_are_masked(
    run_daemon: RunDaemon, start_redis: StartRedis
) -> None:
    server = start_redis(config={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"})
    with looking(server.url) as now:
        for number in range(1, 4):  # written decades ago
            now.xadd("invalidator:dead", {"raw": "old"}, id=f"{number}-0")
        daemon = run_daemon(
            REDIS_URL=server.url,
            PUBSUB__CHANNELS="orders",
            DEAD_LETTERS__MAX_LENGTH="5",
            DEAD_LETTERS__MAX_BYTES="1000000",
            DEAD_LETTERS__MAX_AGE="1h",
            DEAD_LETTERS__REDACT="data.pin,**.password",
        ).await_ready()
        until_sync(lambda: now.xlen("invalidator:dead") == 0, what="what is too old is gone")
        for number in range(8):
            now.publish("orders", event("order.updated", number=number, pin=f"secret{number}"))
        until_sync(lambda: daemon.settled() == 8)
        assert now.xlen("invalidator:dead") == 5
        letters = dead_letters(now)
        assert "secret" not in str(letters)
        assert [letter["redacted"] for letter in letters] == ['["data.pin"]'] * 5
    removed = daemon.events("dead-letters-removed")
    assert {"age", "length"} == {said["bound"] for said in removed}
    assert removed[0]["removed"] == 3
    (danger,) = daemon.events("dead-letters-endangered")
    assert "may evict" in danger["reason"]
    assert {said["bound"] for said in daemon.events("dead-letters-near-bound")} == {"age", "length"}
    _, metrics = daemon.admin("/metrics")
    for line in (
        'invalidator_dead_letters_removed_total{bound="age"} 3.0',
        'invalidator_dead_letters_removed_total{bound="length"} 3.0',
    ):
        assert line in metrics
    assert daemon.stop() == 0


@pytest.mark.parametrize("path", ["data..pin", ".pin", "data.**"])
def test_a_meaningless_path_stops_the_start(run_daemon: RunDaemon, path: str) -> None:
    daemon = run_daemon(DEAD_LETTERS__REDACT=path, PUBSUB__CHANNELS="orders")
    assert daemon.wait() == 2
    assert "paths such as data.email" in daemon.log()


def test_an_interrupted_replay_resumes_where_it_was(
    start_redis: StartRedis, rules_file: Path
) -> None:
    """Interrupt the installed program with Ctrl-C, as a person does."""
    server = start_redis()
    with looking(server.url) as now:
        for number in range(400):
            raw = event("order.updated", orderId=f"o{number}")
            now.xadd("invalidator:dead", {"source": "kafka", "origin": "orders", "raw": raw})
            now.set(f"order:single:o{number}", "stale")
        settings = {"REDIS_URL": server.url, "RULES": str(rules_file)}
        command = [str(PROGRAM), "dead", "replay", "--all", "--rate", "50"]
        replay = DaemonProcess(settings, command=command)
        try:
            until_sync(lambda: now.xlen("invalidator:dead") < 400, what="some were applied")
            replay.signal(signal.SIGINT)
            assert replay.wait() == 130, replay.log()
            said = replay.out()
        finally:
            replay.close()
        left = now.xlen("invalidator:dead")
        assert 0 < left < 400
        assert now.dbsize() == left + 1, "exactly what was removed was applied"
        assert f"{400 - left} dead letters applied and removed" in said


def test_bad_rules_pause_a_stream_until_they_are_fixed(
    run_daemon: RunDaemon, start_redis: StartRedis, rules_file: Path
) -> None:
    server, good = start_redis(), rules_file.read_text()
    with looking(server.url) as now:
        daemon = run_daemon(REDIS_URL=server.url, STREAMS__KEYS="orders").await_ready()
        rules_file.write_text(good.replace("{orderId}", "{orderID}"))
        until_sync(lambda: daemon.events("rules-reloaded"))
        with now.pipeline() as at_once:
            for number in range(300):
                at_once.set(f"order:single:o{number}", "stale")
                at_once.xadd("orders", {"event": order(number)})
            at_once.execute()
        until_sync(lambda: daemon.admin("/readyz")[0] == 503)
        assert "orders is paused: rules" in daemon.admin("/readyz")[1]
        assert 'invalidator_braked_origins{source="stream"} 1.0' in daemon.admin("/metrics")[1]
        assert now.keys("order:*")
        rules_file.write_text(good)
        until_sync(lambda: not now.keys("order:*"), what="all is applied by the fixed rules")
        daemon.await_ready()
        assert now.xlen("invalidator:dead") == 0
        assert daemon.stop() == 0


def test_a_person_releases_a_paused_stream_into_the_dead_letters(
    run_daemon: RunDaemon, start_redis: StartRedis, rules_file: Path
) -> None:
    server = start_redis()
    rules_file.write_text(rules_file.read_text().replace("{orderId}", "{orderID}"))
    token = "a-token-of-some-length"
    with looking(server.url) as now:
        daemon = run_daemon(
            REDIS_URL=server.url, STREAMS__KEYS="orders", ADMIN__TOKEN=token
        ).await_ready()
        with now.pipeline() as at_once:
            for number in range(300):
                at_once.xadd("orders", {"event": order(number)})
            at_once.execute()
        until_sync(lambda: "orders is paused" in daemon.admin("/readyz")[1])

        def steer(verb: str) -> None:
            code, said = run_program(verb, "--url", daemon.admin_url(), ADMIN__TOKEN=token)
            assert code == 0, said

        steer("pause")
        steer("resume")  # ends the pause, and no more
        assert "orders is paused" in daemon.admin("/readyz")[1]
        assert '"topic": "orders"' in daemon.admin("/status")[1]
        assert now.xlen("invalidator:dead") == 0
        steer("resume")
        until_sync(lambda: now.xlen("invalidator:dead") == 300)
        daemon.await_ready()
        assert daemon.stop() == 0


def test_the_daemon_writes_to_a_topic_and_the_command_line_names_it(
    run_daemon: RunDaemon,
    kafka: Kafka,
    redis_url: str,
    redis_now: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic = kafka.topic("dead")
    settings = {
        "REDIS_URL": redis_url,
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "PUBSUB__CHANNELS": "orders",
        "DEAD_LETTERS__TOPIC": topic,
    }
    daemon = run_daemon(**settings).await_ready()
    until_sync(lambda: redis_now.publish("orders", b"not json"))
    (found,) = kafka.read(topic, 1)
    headers: Any = found.headers()
    assert (found.value(), dict(headers)["__connect.errors.topic"]) == (b"not json", b"orders")
    assert daemon.stop() == 0
    assert not redis_now.exists("invalidator:dead")
    for name, value in settings.items():
        monkeypatch.setenv(f"INVALIDATOR_{name}", value)
    assert main(["dead", "list"]) == 2
    assert f"the topic {topic}" in capsys.readouterr().err


def test_a_topic_that_is_also_read_stops_the_start(run_daemon: RunDaemon) -> None:
    daemon = run_daemon(
        KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1",
        KAFKA__TOPICS="orders,^dead",
        DEAD_LETTERS__TOPIC="dead-letters",
    )
    assert daemon.wait() == 2
    assert "would read its own dead letters" in daemon.log()


def test_a_topic_needs_brokers(run_daemon: RunDaemon) -> None:
    daemon = run_daemon(PUBSUB__CHANNELS="orders", DEAD_LETTERS__TOPIC="dead-letters")
    assert daemon.wait() == 2
    assert "INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS: missing" in daemon.log()
