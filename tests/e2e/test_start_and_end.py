"""The daemon starts before its servers, ends in order, and reports what is wrong."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.backends.redis_server import RedisServer
from tests.backends.server import free_port
from tests.conftest import StartKafka, StartRedis
from tests.e2e.conftest import RULES, RunDaemon
from tests.e2e.process import DaemonProcess, clean_environment
from tests.integration.piping import looking, order


def test_servers_that_start_later_are_awaited_without_a_stack_trace(
    run_daemon: RunDaemon, start_redis: StartRedis, start_kafka: StartKafka
) -> None:
    kafka_port, redis_port = free_port(), free_port()
    daemon = run_daemon(
        REDIS_URL=f"redis://127.0.0.1:{redis_port}/0",
        KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{kafka_port}",
        KAFKA__TOPICS="orders",
        KAFKA__GROUP_ID=unique("group"),
    )
    until_sync(lambda: len(_waiting(daemon)) >= 2, what="Redis and Kafka are missed")
    status, body = daemon.admin("/readyz")
    parts = json.loads(body)["parts"]
    assert status == 503
    assert str(kafka_port) in parts["kafka"]
    assert str(redis_port) in parts["redis"]
    assert daemon.admin("/livez")[0] == 200
    redis_server = start_redis(redis_port)
    broker = Kafka(start_kafka(kafka_port).bootstrap)
    until_sync(lambda: "orders" in json.loads(daemon.admin("/readyz")[1])["parts"]["kafka"])
    assert broker.topics() & {"orders"} == set(), "asking for a topic must not create it"
    broker.create_topic("orders")
    daemon.await_ready(60)
    with looking(redis_server.url) as now:
        now.set("order:single:o1", "stale")
        broker.produce("orders", [order(1)])
        until_sync(lambda: not now.exists("order:single:o1"))
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log()
    assert len(daemon.events("server-unavailable")) < 15, "now and then, not all the time"


def _waiting(daemon: DaemonProcess) -> set[str]:
    return {entry["part"] for entry in daemon.events("server-unavailable")}


def test_a_drain_that_takes_too_long_ends_with_3(
    run_daemon: RunDaemon, start_redis: StartRedis
) -> None:
    daemon, server = _with_work_it_cannot_settle(run_daemon, start_redis, DRAIN_TIMEOUT="300ms")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(60) == 3
    assert daemon.events("drain-timeout")
    server.thaw()


def test_a_second_signal_ends_immediately_with_3(
    run_daemon: RunDaemon, start_redis: StartRedis
) -> None:
    daemon, server = _with_work_it_cannot_settle(run_daemon, start_redis, DRAIN_TIMEOUT="5m")
    daemon.signal(signal.SIGINT)
    until_sync(lambda: daemon.events("stopping"))
    assert daemon.process.poll() is None
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(60) == 3
    assert daemon.events("drain-forced")
    server.thaw()


SLOW_NAMES = """
import socket, sys, time
socket.getaddrinfo = lambda *_, **__: time.sleep(600)
from invalidator.cli import main
sys.exit(main(["run"]))
"""


def _that_finds_no_name(rules: Path, program: str) -> DaemonProcess:
    settings = {
        "RULES": str(rules),
        "REDIS_URL": "redis://cache.example:6379/0",
        "PUBSUB__CHANNELS": "orders",
        "REDIS_TIMEOUT": "200ms",
    }
    # the admin port has an address, and asks nobody for it
    return DaemonProcess(settings, command=[sys.executable, "-c", program])


def test_a_silent_name_server_does_not_delay_the_end(rules_file: Path) -> None:
    daemon = _that_finds_no_name(rules_file, SLOW_NAMES)
    try:
        until_sync(lambda: daemon.events("server-unavailable"))
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
        assert daemon.events("stopped")
    finally:
        daemon.close()


MISTAKEN = """
from invalidator.pipeline.settlement import Settlement
Settlement.run = lambda self: 1 / 0
"""


def test_nor_does_it_delay_the_end_after_a_crash(rules_file: Path) -> None:
    daemon = _that_finds_no_name(rules_file, MISTAKEN + SLOW_NAMES)
    try:
        assert daemon.wait(60) == 1
        assert daemon.events("crashed")
        assert "invalidator: ended by an unexpected ZeroDivisionError" in daemon.log()
    finally:
        daemon.close()


def _with_work_it_cannot_settle(
    run_daemon: RunDaemon, start_redis: StartRedis, **settings: str
) -> tuple[DaemonProcess, RedisServer]:
    cache, bus = start_redis(), start_redis()
    daemon = run_daemon(
        REDIS_URL=cache.url,
        SOURCE_REDIS_URL=bus.url,
        STATE_URL=bus.url,
        REDIS_TIMEOUT="200ms",
        PUBSUB__CHANNELS="orders",
        **settings,
    ).await_ready()
    cache.freeze()
    with looking(bus.url) as now:
        now.publish("orders", order(1))
    until_sync(lambda: "redis" in _waiting(daemon))
    return daemon, cache


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules:\n  - name: a\n    on: [x.y\n", "rules.yaml:"),
        (
            "version: 1\nrules:\n  - {name: a, on: x, invalidate: {keyz: [k]}}\n",
            "rules.yaml:3:",
        ),
    ],
)
def test_broken_rules_end_the_start_with_2_and_their_position(
    run_daemon: RunDaemon, rules_file: Path, text: str, said: str
) -> None:
    rules_file.write_text(text)
    daemon = run_daemon(PUBSUB__CHANNELS="orders")
    assert daemon.wait() == 2
    assert said in daemon.log()
    assert "Traceback" not in daemon.log()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "INVALIDATOR_KAFKA__TOPICS"),
        ({"RULES": "nowhere.yaml", "PUBSUB__CHANNELS": "c"}, "nowhere.yaml"),
        ({"PUBSUB__CHANELS": "c"}, "INVALIDATOR_PUBSUB__CHANNELS"),
        ({"REDIS_URL": "http://x", "PUBSUB__CHANNELS": "c"}, "redis://"),
        (
            {"CACHES__DEFALT": "redis://x", "PUBSUB__CHANNELS": "c"},
            "did you mean INVALIDATOR_CACHES__DEFAULT?",
        ),
    ],
    ids=["no source", "no rules", "misnamed", "wrong value", "unknown cache"],
)
def test_settings_that_cannot_be_used_end_the_start_with_2(
    run_daemon: RunDaemon, settings: dict[str, str], said: str
) -> None:
    daemon = run_daemon(**settings)
    assert daemon.wait() == 2
    assert said in daemon.log()
    assert "Traceback" not in daemon.log()


def test_an_admin_port_that_is_taken_is_named(run_daemon: RunDaemon) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        daemon = run_daemon(PUBSUB__CHANNELS="c", ADMIN__PORT=port)
        assert daemon.wait() == 2
    assert f"INVALIDATOR_ADMIN__PORT={port}" in daemon.log()


@pytest.mark.parametrize("host", ["a..b", "nobody.invalid", "[::1]", "203.0.113.1"])
def test_an_impossible_admin_host_is_named(run_daemon: RunDaemon, host: str) -> None:
    daemon = run_daemon(PUBSUB__CHANNELS="c", ADMIN__HOST=host)
    assert daemon.wait() == 2
    assert f"INVALIDATOR_ADMIN__HOST={host}" in daemon.log()
    assert "Traceback" not in daemon.log()


def test_without_rules_it_says_where_they_belong(run_daemon: RunDaemon, tmp_path: Path) -> None:
    daemon = run_daemon("--embedded", RULES=str(tmp_path / "none.yaml"))
    assert daemon.wait() == 2
    assert "none.yaml: there is no such file or directory" in daemon.log()
    assert "--rules" in daemon.log()


def _welcome(daemon: DaemonProcess) -> tuple[str, str]:
    """Return the command to paste, and the URL of its own Redis."""
    until_sync(lambda: "Then:" in daemon.out())
    said = daemon.out()
    command = said.split("see it work:")[1].split("Then:")[0].strip()
    (url, *_) = re.findall(r"redis://[\d.:/]+", said)
    return command, url


@pytest.mark.parametrize("rules", ["own", "none"])
def test_embedded_prints_a_command_that_waits_for_its_effect(
    rules_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: str
) -> None:
    """Also in an empty folder: it brings sample rules."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path if rules == "own" else tmp_path / "empty")
    with closing(DaemonProcess({}, "--embedded")) as daemon:
        command, url = _welcome(daemon)
        assert max(map(len, daemon.out().splitlines())) <= max(80, len(command))
        pasted = subprocess.run(
            ["bash", "-c", command],
            env=clean_environment({}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert pasted.returncode == 0, pasted.stderr
        *_, last = pasted.stdout.splitlines()
        said = r"order:single:ord_1 was deleted after \d+ ms by rule order-changed"
        assert re.fullmatch(said, last)
        until_sync(lambda: "rule=order-changed" in daemon.log())
        assert f"{command.split()[0]} " in daemon.out().split("Then:")[1]  # also how to watch
        assert f"page   {daemon.out().split('page')[1].split()[0]}" in daemon.out()
        assert daemon.stop() == 0
        assert not _answers(url)


def test_a_killed_embedded_run_leaves_neither_server_nor_files(
    run_daemon: RunDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    daemon = run_daemon("--embedded")
    _, url = _welcome(daemon)
    assert _answers(url)
    daemon.signal(signal.SIGKILL)
    until_sync(lambda: not _answers(url))
    assert list(folder.iterdir()) == []


def test_a_signal_during_the_start_ends_it_and_what_it_started(
    run_daemon: RunDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file, fake = tmp_path / "pid", tmp_path / "redis-server"
    fake.write_text(f"#!/bin/sh\necho $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    daemon = run_daemon("--embedded")
    until_sync(pid_file.exists)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    until_sync(lambda: not _runs(int(pid_file.read_text())))
    assert "Traceback" not in daemon.log()


def test_rules_may_change_during_the_start(
    run_daemon: RunDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, fake = tmp_path / "began", tmp_path / "redis-server"
    fake.write_text(f"#!/bin/sh\n>{began}; sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    daemon = run_daemon("--embedded")
    until_sync(began.exists)
    daemon.signal(signal.SIGHUP)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(60) == 0


def _runs(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _answers(url: str) -> bool:
    with looking(url) as now:
        try:
            return bool(now.ping())
        except redis.ConnectionError:
            return False


def test_a_stop_before_any_server_was_available_is_clean(
    run_daemon: RunDaemon, rules_file: Path
) -> None:
    """At its end it still looks for tags that a crash left half consumed."""
    rules_file.write_text(RULES.replace("keys: [", "tags: ["))
    daemon = run_daemon(
        REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
        KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}",
        KAFKA__TOPICS="orders",
    )
    until_sync(lambda: len(_waiting(daemon)) >= 2, what="Redis and Kafka are missed")
    assert daemon.stop() == 0
    assert daemon.events("stopped")
    assert "Traceback" not in daemon.log()
