"""The admin port: what each call does, and who may make it."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import invalidator
from tests.backends import until_sync
from tests.conftest import StartRedis
from tests.e2e.conftest import RULES, RunDaemon
from tests.e2e.process import DaemonProcess, run_program
from tests.integration.piping import AllowKeys, event, looking, order

if TYPE_CHECKING:
    import redis

TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def call(
    daemon: DaemonProcess,
    path: str,
    body: bytes | None = b"",
    headers: Mapping[str, str] = BEARER,
) -> tuple[int, dict[str, Any]]:
    """Return status and answer of a POST; of a GET where `body` is None."""
    url = daemon.admin_url() + path
    request = urllib.request.Request(url, data=body, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.fixture
def daemon(redis_url: str, run_daemon: RunDaemon) -> Iterator[DaemonProcess]:
    started = run_daemon(
        REDIS_URL=redis_url, STREAMS__KEYS="events", STREAMS__START="earliest", ADMIN__TOKEN=TOKEN
    )
    yield started.await_ready()
    if started.process.poll() is None:
        assert started.stop() == 0


def test_calls_that_change_something_are_off_without_a_token(
    run_daemon: RunDaemon, redis_url: str
) -> None:
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()
    for path in ("/reload", "/pause", "/resume"):
        status, answer = call(daemon, path)
        assert (status, "INVALIDATOR_ADMIN__TOKEN" in answer["error"]) == (403, True)
    assert call(daemon, "/status", None)[1]["paused"] is None
    assert daemon.stop() == 0


def test_only_who_knows_the_token_may_change_something(
    daemon: DaemonProcess, allow_keys: AllowKeys
) -> None:
    allow_keys("events")
    for given in ("", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Bearer \xe9"):
        status, answer = call(daemon, "/pause", headers={"Authorization": given})
        assert (status, "Bearer" in answer["error"]) == (401, True), given
    assert call(daemon, "/status", None)[1]["status"] == "ready"
    assert call(daemon, "/pause")[0] == 200
    assert TOKEN not in daemon.log()


def test_a_pause_stops_reading_and_is_reported_until_it_ends(
    daemon: DaemonProcess, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("events")
    redis_now.set("order:single:o1", "stale")
    assert call(daemon, "/pause?why=a%20restore")[0] == 200
    status, said = daemon.admin("/readyz")
    assert (status, "paused by a person: a restore" in said) == (503, True)
    assert daemon.admin("/livez")[0] == 200
    found = call(daemon, "/status", None)[1]
    assert (found["status"], found["paused"]["why"]) == ("paused", "a restore")
    # A read that waited when the pause came gives what it has; then nothing is read any more.
    until_sync(lambda: _is_left(redis_now))
    redis_now.xadd("events", {"event": order(1)})
    assert redis_now.exists("order:single:o1")
    assert call(daemon, "/resume")[0] == 200
    until_sync(lambda: not redis_now.exists("order:single:o1"))
    daemon.await_ready()


def _is_left(now: "redis.Redis") -> bool:
    """Return whether an entry stays unread for longer than a read waits."""
    mark = now.xadd("events", {"event": event("nobody.asks")})
    try:
        until_sync(lambda: _delivered(now) == mark)
    except AssertionError:
        return True
    return False


def _delivered(now: "redis.Redis") -> bytes:
    groups: Any = now.xinfo_groups("events")
    return bytes(groups[0]["last-delivered-id"])


def test_a_daemon_that_is_paused_ends_in_order(
    daemon: DaemonProcess, allow_keys: AllowKeys
) -> None:
    allow_keys("events")
    assert call(daemon, "/pause")[0] == 200
    assert daemon.stop() == 0


def test_a_daemon_that_ends_cannot_be_paused_and_loses_nothing_by_it(
    run_daemon: RunDaemon, start_redis: StartRedis
) -> None:
    cache, bus = start_redis(), start_redis()
    daemon = run_daemon(
        REDIS_URL=cache.url,
        SOURCE_REDIS_URL=bus.url,
        PUBSUB__CHANNELS="orders",
        BATCH__MAX_EVENTS="1",
        ADMIN__TOKEN=TOKEN,
    ).await_ready()
    numbers = range(1, 9)
    with looking(cache.url) as now, looking(bus.url) as there:
        now.mset({f"order:single:o{number}": "stale" for number in numbers})
        cache.freeze()
        for number in numbers:
            there.publish("orders", order(number))
        # one is being applied, one is planned, one waits to be: all have arrived
        until_sync(
            lambda: call(daemon, "/status", None)[1]["sources"][0]["lag"] == len(numbers) - 3
        )
        daemon.signal(signal.SIGTERM)
        until_sync(lambda: daemon.events("stopping"))
        status, answer = call(daemon, "/pause")
        cache.thaw()
        assert (status, answer["error"].partition(":")[0]) == (503, "the daemon is about to end")
        assert daemon.wait() == 0
        assert list(now.scan_iter("order:*")) == []


def test_a_reload_answers_when_the_rules_are_in_force_or_refused(
    daemon: DaemonProcess, rules_file: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("events")
    before = call(daemon, "/reload")[1]["rules"]
    rules_file.write_text(RULES.replace("orderId", "order_id"))
    status, answer = call(daemon, "/reload")
    assert (status, answer["problems"]) == (200, [])
    assert answer["rules"] != before
    rules_file.write_text(RULES.replace("on:", "onn:"))
    status, refused = call(daemon, "/reload")
    assert (status, refused["rules"]) == (422, answer["rules"])
    assert "onn" in refused["problems"][0]
    assert call(daemon, "/status", None)[1]["rules"]["rejected"] == refused["problems"]


def test_an_event_is_explained(
    daemon: DaemonProcess, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("events", "order:single:o1")
    redis_now.set("order:single:o1", "fresh")
    status, answer = call(daemon, "/explain", order(1), {})
    (rule,) = answer["rules"]
    assert (status, answer["type"], rule["matched"]) == (200, "order.updated", True)
    assert [name["name"] for name in rule["names"]] == ["order:single:o1"]
    assert call(daemon, "/explain", b"no json", {})[1]["fault"]["error"] == "not-json"
    assert redis_now.get("order:single:o1") == b"fresh"
    (rule,) = call(daemon, "/rules", None)[1]["rules"]
    assert (rule["name"], rule["on"]) == ("order-changed", ["order.updated"])
    assert rule["invalidates"] == [{"kind": "keys", "template": "order:single:{orderId}"}]


def test_the_status_has_the_fields_that_are_documented(
    daemon: DaemonProcess, allow_keys: AllowKeys
) -> None:
    allow_keys("events")
    text = (Path(invalidator.__file__).parents[1] / "docs" / "admin.md").read_text()
    table = text.partition("## Status")[2].partition("Rates are")[0]
    documented = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    found = call(daemon, "/status", None)[1]
    assert set(found) == documented
    about = {line.split("|")[1].strip(" `"): line for line in table.splitlines() if "|" in line}
    for name in ("sources", "caches", "by_rule"):
        assert [key for key in found[name][0] if f"`{key}`" not in about[name]] == []
    for name in ("rules", "sweeps", "brake", "dead_letters"):
        assert [key for key in found[name] if f"`{key}`" not in about[name]] == []


def test_pages_of_other_sites_read_nothing(run_daemon: RunDaemon, redis_url: str) -> None:
    daemon = run_daemon(
        REDIS_URL=redis_url, PUBSUB__CHANNELS="orders", ADMIN__HOSTS="cache.example.com"
    ).await_ready()
    for host, path, wanted in (
        ("evil.example.com", "/status", 403),
        ("evil.example.com:8080", "/explain", 403),
        ("cache.example.com:8080", "/status", 200),
        ("invalidator:8080", "/status", 200),
        ("[::1]:8080", "/status", 200),
        ("evil.example.com", "/livez", 200),
    ):
        body = b"{}" if path == "/explain" else None
        assert call(daemon, path, body, {"Host": host})[0] == wanted, (host, path)
    for site, wanted in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        assert call(daemon, "/explain", b"{}", {"Sec-Fetch-Site": site})[0] == wanted, site
    with urllib.request.urlopen(daemon.admin_url() + "/") as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert daemon.stop() == 0


def test_it_is_controlled_from_the_command_line(
    daemon: DaemonProcess, rules_file: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("events")
    url = daemon.admin_url()

    def run(*words: str, token: str = TOKEN) -> tuple[int, str]:
        return run_program(*words, "--url", url, ADMIN__TOKEN=token)

    who = f"{socket.gethostname()} ({url})"
    paused = f"paused {who}: it reads no event; --all pauses every daemon\n"
    assert run("pause", "--why", "a restore") == (0, paused)
    code, said = run("status")
    assert code == 1
    assert re.search(r"^paused by a person \d+s ago: a restore$", said, re.MULTILINE)
    assert run("resume") == (0, f"resumed {who}\n")
    daemon.await_ready()
    code, said = run("status")
    assert code == 0
    assert re.search(r"^stream +ready", said, re.MULTILINE)
    assert json.loads(run("status", "--json")[1])["format"] == 1
    assert run("reload")[0] == 0
    rules_file.write_text("version: 3\n")
    code, said = run("reload")
    assert code == 1
    assert "rules.yaml:1" in said
    code, said = run("pause", token="")
    assert (code, "INVALIDATOR_ADMIN__TOKEN" in said) == (1, True)
    assert daemon.stop() == 0
    code, said = run("status")
    assert (code, "no answer" in said) == (1, True)
