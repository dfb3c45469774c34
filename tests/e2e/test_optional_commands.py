"""Commands that a server does not have stop only what needs them, and readiness names them."""

from pathlib import Path

import pytest

from tests.backends import until_sync
from tests.conftest import StartRedis
from tests.e2e.process import DaemonProcess
from tests.integration.piping import event, looking

RULE = "rules: [{name: r, on: changed, invalidate: {%s}}]"


def config(*commands: str) -> dict[str, list[str]]:
    return {"rename-command": [f'{command} ""' for command in commands]}


@pytest.mark.parametrize(
    ("missing", "invalidate"),
    [
        (["INFO", "SCAN", "PUBLISH", "EVALSHA", "DBSIZE", "MEMORY", "TIME"], "keys: 'order:{id}'"),
        (["PUBLISH", "EVALSHA", "MEMORY", "TIME"], "patterns: 'order:{id}:*'"),
        (["SCAN", "PUBLISH", "MEMORY", "DBSIZE"], "tags: '{id}'"),
        (["INFO", "SCAN", "PUBLISH", "MEMORY", "DBSIZE"], "versions: '{id}'"),
    ],
)
def test_what_does_not_need_a_missing_command_goes_on(
    start_redis: StartRedis, tmp_path: Path, missing: list[str], invalidate: str
) -> None:
    server = start_redis(config=config(*missing))
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE % invalidate)
    settings = {
        "RULES": str(rules),
        "REDIS_URL": server.url,
        "STREAMS__KEYS": "orders",
        "STREAMS__START": "earliest",
    }
    daemon = DaemonProcess(settings)
    try:
        with looking(server.url) as now:
            now.mset({"order:1": 1, "order:1:a": 1})
            now.sadd("tag:1", "order:1")
            before = set(now.keys())
            daemon.await_ready()
            now.xadd("orders", {"event": event("changed", id=1)})
            until_sync(lambda: daemon.events("flow"))
            assert set(now.keys()) - {b"orders"} != before
        assert daemon.stop() == 0
    finally:
        daemon.close()


@pytest.mark.parametrize(
    ("missing", "invalidate"),
    [
        ("SCAN", "patterns: 'order:{id}:*'"),
        ("INFO", "patterns: 'order:{id}:*'"),
        ("INFO", "tags: '{id}'"),
        ("EVALSHA", "tags: '{id}'"),
        ("EVALSHA", "versions: '{id}'"),
    ],
)
def test_readiness_names_a_missing_command_that_is_needed(
    start_redis: StartRedis, tmp_path: Path, missing: str, invalidate: str
) -> None:
    server = start_redis(config=config(missing))
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE % invalidate)
    settings = {"RULES": str(rules), "REDIS_URL": server.url, "STREAMS__KEYS": "orders"}
    daemon = DaemonProcess(settings | {"STREAMS__START": "earliest"})
    try:
        with looking(server.url) as now:
            now.sadd("tag:1", "order:1")
            now.xadd("orders", {"event": event("changed", id=1)})
        until_sync(lambda: missing.lower() in daemon.admin("/readyz")[1].lower())
    finally:
        daemon.close()
