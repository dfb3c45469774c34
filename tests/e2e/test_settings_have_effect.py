"""Each setting that no other test here needs changes what the installed daemon does."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from invalidator.settings import defaults
from tests.backends import until_sync
from tests.backends.certificates import KEY_PASSWORD, make_certificates
from tests.backends.kafka_client import Kafka, unique
from tests.backends.redis_server import RedisServer
from tests.backends.redis_tls import server_config
from tests.backends.server import free_port
from tests.conftest import StartRedis
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess
from tests.integration.piping import count_keys, looking, order
from tests.pages import apart

if TYPE_CHECKING:
    import redis

PASSWORD = "p@ss/w:rd#?&%41 "


def test_every_setting_occurs_in_a_test_that_runs_the_daemon() -> None:
    here = Path(__file__).parent
    rows = (here.parent / "faults").rglob("*.py")
    files = [path.read_text() for path in (*here.glob("test_*.py"), *rows)]
    security = apart(str(Path(__file__).with_name("test_kafka_security.py")))
    texts = "\n".join([*files, *(setting for block in security for setting in block.exports())])
    names = [setting.name.removeprefix("INVALIDATOR_") for setting in defaults()]
    names = [name.replace("CACHES__NAME", "CACHES__USERS") for name in names]
    names = [name.replace("ROUTES__NAME", "ROUTES__ORDERS") for name in names]
    names = [re.sub("^(EDGE__.*)__NAME$", r"\1__PAGES", name) for name in names]
    options = {name: "--" + name.lower().replace("_", "-") for name in names}
    assert [n for n in names if not re.search(rf"\b{n}\b|{options[n]}\b", texts)] == []


# --- where settings come from ---


def test_an_env_file_is_read(
    run_daemon: RunDaemon, tmp_path: Path, redis_url: str, redis_now: "redis.Redis"
) -> None:
    path = tmp_path / "prod.env"
    path.write_text(f"INVALIDATOR_REDIS_URL={redis_url}\nINVALIDATOR_PUBSUB__CHANNELS=orders\n")
    daemon = run_daemon(ENV_FILE=str(path)).await_ready()
    assert redis_now.publish("orders", order(1)) == 1
    assert daemon.stop() == 0


def test_a_password_from_a_secret_file_is_used_and_never_shown(
    run_daemon: RunDaemon, tmp_path: Path, start_redis: StartRedis
) -> None:
    server = _locked(start_redis)
    (tmp_path / "redis_url").write_text(_url(server, PASSWORD))
    daemon = run_daemon(
        SECRETS_DIR=str(tmp_path), PUBSUB__CHANNELS="orders", LOG__LEVEL="debug"
    ).await_ready()
    with looking(_url(server, PASSWORD)) as now:
        assert now.publish("orders", order(1)) == 1
        until_sync(lambda: daemon.events("batch"))
        now.config_set("requirepass", "another")
        now.client_kill_filter(_type="normal", skipme=True)
        until_sync(lambda: daemon.admin("/readyz")[0] == 503)
    _shows_no_password(daemon)
    server.kill()
    until_sync(lambda: "connection refused" in daemon.admin("/readyz")[1])
    _shows_no_password(daemon)
    assert daemon.stop() == 0
    _shows_no_password(daemon)


def test_a_wrong_password_is_retried_and_not_shown(
    run_daemon: RunDaemon, start_redis: StartRedis
) -> None:
    server = _locked(start_redis)
    daemon = run_daemon(REDIS_URL=_url(server, PASSWORD + "!"), PUBSUB__CHANNELS="orders")
    until_sync(lambda: daemon.admin("/readyz")[1].count("password") == 3)
    (told,) = daemon.events("server-unavailable")  # once, whatever parts use the server
    assert "password" in told["reason"]
    _shows_no_password(daemon)
    assert daemon.stop() == 0


def _locked(start_redis: StartRedis) -> RedisServer:
    return start_redis(config={"requirepass": f'"{PASSWORD}"'})


def _url(server: RedisServer, password: str) -> str:
    return f"redis://:{quote(password, safe='')}@{server.address}/0"


def _shows_no_password(daemon: DaemonProcess) -> None:
    shown = daemon.log() + daemon.out() + daemon.admin("/readyz")[1] + daemon.admin("/metrics")[1]
    for secret in (PASSWORD, quote(PASSWORD, safe=""), "p@ss", "p%40ss"):
        assert secret not in shown


# --- logs and the admin port ---


def test_the_console_format_is_for_people(run_daemon: RunDaemon, redis_url: str) -> None:
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders", LOG__FORMAT="console")
    until_sync(lambda: re.search(r"^[0-9:]{8} started version=", daemon.log(), re.M))
    assert daemon.stop() == 0
    assert "{" not in daemon.log()


def test_at_a_higher_level_nothing_is_logged_while_all_is_well(
    run_daemon: RunDaemon, redis_url: str, redis_now: "redis.Redis"
) -> None:
    redis_now.set("order:single:o1", "stale")
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders", LOG__LEVEL="warning")
    until_sync(lambda: redis_now.publish("orders", order(1)))
    until_sync(lambda: count_keys(redis_now) == 0)
    assert daemon.stop() == 0
    assert daemon.log() == ""


def test_the_admin_port_listens_where_it_is_told_to(run_daemon: RunDaemon, redis_url: str) -> None:
    port = free_port()
    daemon = run_daemon(
        REDIS_URL=redis_url,
        PUBSUB__CHANNELS="orders",
        ADMIN__HOST="127.0.0.2",
        ADMIN__PORT=str(port),
    ).await_ready()
    (started,) = daemon.events("started")
    assert started["admin"] == f"http://127.0.0.2:{port}"
    assert daemon.stop() == 0


# --- bounds ---


@pytest.mark.parametrize(
    ("bounds", "in_work", "lost"),
    [({}, 3, 0), ({"IN_FLIGHT__EVENTS": "1"}, 1, 2), ({"IN_FLIGHT__BYTES": "1"}, 1, 4)],
    ids=["usual", "events", "bytes"],
)
def test_what_neither_the_work_in_flight_nor_the_buffer_has_room_for_is_a_gap(
    run_daemon: RunDaemon, start_redis: StartRedis, bounds: dict[str, str], in_work: int, lost: int
) -> None:
    """Of events that come while the cache is frozen, three are in work where nothing bounds it.

    Three more wait; of bytes no more than may be in work, but one.
    """
    cache, bus = start_redis(), start_redis()
    daemon = run_daemon(
        REDIS_URL=cache.url,
        SOURCE_REDIS_URL=bus.url,
        STATE_URL=bus.url,
        REDIS_TIMEOUT="1m",
        PUBSUB__CHANNELS="orders",
        PUBSUB__BUFFER="3",
        BATCH__MAX_EVENTS="1",
        **bounds,
    ).await_ready()
    with looking(cache.url) as keys, looking(bus.url) as now:
        keys.mset({f"order:single:o{n}": "stale" for n in range(6)})
        cache.freeze()
        for number in range(6):
            now.publish("orders", order(number))
            if number < in_work:
                gauge = f"invalidator_in_flight_events {number + 1}.0"
                until_sync(lambda text=gauge: text in daemon.admin("/metrics")[1])  # type: ignore[misc]
        cache.thaw()
        until_sync(lambda: "invalidator_in_flight_events 0.0" in daemon.admin("/metrics")[1])
        until_sync(lambda: count_keys(keys) == lost)
    gaps = [entry for entry in daemon.events("source-gap") if entry["cause"] != "start"]
    assert bool(gaps) == bool(lost)
    assert daemon.stop() == 0


def test_a_redis_that_does_not_answer_in_time_is_unavailable(
    run_daemon: RunDaemon, start_redis: StartRedis
) -> None:
    cache, bus = start_redis(), start_redis()
    daemon = run_daemon(
        REDIS_URL=cache.url,
        SOURCE_REDIS_URL=bus.url,
        STATE_URL=bus.url,
        REDIS_TIMEOUT="100ms",
        PUBSUB__CHANNELS="orders",
    ).await_ready()
    cache.freeze()
    with looking(bus.url) as now:
        now.publish("orders", order(1))
    (said,) = until_sync(lambda: daemon.events("server-unavailable"))
    assert "0.1" in said["reason"], "by default it takes 2 s"
    cache.thaw()
    daemon.await_ready()
    assert daemon.stop() == 0


# --- Kafka ---


@pytest.mark.parametrize(("start", "first"), [("latest", 3), ("earliest", 0), ("-1h", 2)])
def test_a_new_group_begins_where_it_is_told_to(
    run_daemon: RunDaemon, kafka: Kafka, redis_url: str, redis_now: "redis.Redis",
    start: str, first: int,
) -> None:  # fmt: skip
    topic, group = kafka.topic(), unique("group")
    redis_now.mset({f"order:single:o{n}": "stale" for n in range(3)})
    now = int(time.time() * 1000)
    for number, hours in enumerate((3, 2, 0)):
        kafka.produce(topic, [order(number)], timestamp=now - hours * 3_600_000)
    daemon = run_daemon(
        REDIS_URL=redis_url,
        KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap,
        KAFKA__TOPICS=topic,
        KAFKA__GROUP_ID=group,
        KAFKA__START=start,
    )
    until_sync(lambda: kafka.committed(group, topic) == {0: 3})
    until_sync(lambda: count_keys(redis_now, "order:*") == first)
    assert daemon.stop() == 0


def test_a_member_that_was_killed_is_replaced_after_its_session(
    run_daemon: RunDaemon, kafka: Kafka, redis_url: str
) -> None:
    topic = kafka.topic(partitions=2)
    settings = {
        "REDIS_URL": redis_url,
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA__TOPICS": topic,
        "KAFKA__GROUP_ID": unique("group"),
        "KAFKA__SESSION_TIMEOUT": "2s",
    }
    first, second = run_daemon(**settings), run_daemon(**settings)
    until_sync(lambda: _partitions(first) == _partitions(second) == 1)
    first.process.kill()
    until_sync(lambda: _partitions(second) == 2, what="by default it would take 30 s")
    assert second.stop() == 0


def _partitions(daemon: DaemonProcess) -> int:
    assigned = daemon.events("kafka-assigned")
    return len(assigned[-1]["partitions"]) if assigned else 0


# --- caches, and how fast they forget ---


def test_a_cache_is_on_the_redis_that_is_named_for_it(
    run_daemon: RunDaemon, rules_file: Path, start_redis: StartRedis
) -> None:
    main, other = start_redis(), start_redis()
    rules_file.write_text(
        "version: 1\ncaches: {users: {}}\nrules:\n"
        "  - {name: u, on: order.updated, cache: users, invalidate: {keys: ['u:{orderId}']}}\n"
        "  - {name: o, on: order.updated, invalidate: {keys: ['u:{orderId}']}}\n"
    )
    daemon = run_daemon(
        REDIS_URL=main.url, CACHES__USERS=other.url, PUBSUB__CHANNELS="orders"
    ).await_ready()
    with looking(main.url) as here, looking(other.url) as there:
        for now in (here, there):
            now.mset({"u:o1": 1, "u:o2": 1})
        here.publish("orders", order(1))
        until_sync(lambda: not here.exists("u:o1") and not there.exists("u:o1"))
        assert (count_keys(here), count_keys(there)) == (1, 1)
    assert daemon.stop() == 0


def test_a_cache_that_no_rule_knows_ends_the_start_with_2(run_daemon: RunDaemon) -> None:
    daemon = run_daemon(CACHES__USERZ="redis://127.0.0.1:1/0", PUBSUB__CHANNELS="orders")
    assert daemon.wait() == 2
    assert "USERZ" in daemon.log()


def test_deletions_are_paced_and_unusually_many_are_reported(
    run_daemon: RunDaemon, redis_url: str, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({f"order:single:o{n}": 1 for n in range(60)})
    daemon = run_daemon(
        REDIS_URL=redis_url,
        PUBSUB__CHANNELS="orders",
        MAX_DELETES_PER_SECOND="40",
        ALARM_DELETES="20",
    ).await_ready()
    for n in range(60):
        redis_now.publish("orders", order(n))
    until_sync(lambda: count_keys(redis_now) == 0)
    until_sync(lambda: daemon.events("deletes-unusual"))
    assert daemon.events("deletes-paced")
    assert daemon.stop() == 0


@pytest.mark.parametrize("announce", ["listened", "always", "never"])
def test_what_was_applied_is_announced_or_not(
    run_daemon: RunDaemon, start_redis: StartRedis, announce: str
) -> None:
    server = start_redis()
    with looking(server.url) as now:
        client: Any = now  # its own signature is untyped
        heard = client.pubsub()
        heard.subscribe("invalidator:applied")
        daemon = run_daemon(
            REDIS_URL=server.url, PUBSUB__CHANNELS="orders", ANNOUNCE=announce
        ).await_ready()
        now.publish("orders", order(1))
        until_sync(lambda: daemon.events("flow"))
        assert daemon.stop() == 0
        said = []
        while message := heard.get_message(timeout=0.2):
            said.append(message["data"])
        heard.close()
        assert any(b"order:single:o1" in text for text in said[1:]) == (announce != "never")


def test_certificates_are_sent_to_a_redis_that_requires_them(
    run_daemon: RunDaemon, start_redis: StartRedis, tmp_path: Path
) -> None:
    known = make_certificates(tmp_path)
    config = server_config(known)
    server = start_redis(config=config)
    shown = {
        "REDIS_TLS__CA_FILE": str(known.authority),
        "REDIS_TLS__CERT_FILE": str(known.client.certificate),
        "REDIS_TLS__KEY_FILE": str(known.client.key),
        "REDIS_TLS__KEY_PASSWORD": KEY_PASSWORD,
    }
    url = f"rediss://127.0.0.1:{config['tls-port']}/0"
    daemon = run_daemon(REDIS_URL=url, PUBSUB__CHANNELS="orders", **shown).await_ready()
    with looking(server.url) as now:
        now.set("order:single:o1", "stale")
        assert now.publish("orders", order(1)) == 1
        until_sync(lambda: not now.exists("order:single:o1"))
    assert daemon.stop() == 0
    assert KEY_PASSWORD not in daemon.log()
