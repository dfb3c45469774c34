"""The installed daemon with a Kafka that requires authentication, set up as docs/kafka.md says."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backends import until, until_sync
from tests.backends.certificates import KEY_PASSWORD
from tests.backends.kafka_client import Kafka, unique
from tests.backends.kafka_secure import PASSWORD, USER, SecureBroker
from tests.backends.tokens import CLIENT, SECRET, TokenServer, token_server
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess
from tests.integration.piping import order
from tests.pages import apart

if TYPE_CHECKING:
    import redis


@pytest.fixture
def topic(secure_kafka: SecureBroker) -> str:
    return Kafka(secure_kafka.bootstrap).topic()


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    async with token_server() as server:
        yield server


def documented(word: str, **own: str) -> dict[str, str]:
    """Return the settings of the page's block with this word, for our addresses and files."""
    (block,) = apart(__file__, word)
    said = block.exports()
    assert not own.keys() - said.keys(), block.text
    return said | own


def settings(
    secure_kafka: SecureBroker, listener: str, topic: str, redis_url: str
) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "KAFKA__BOOTSTRAP_SERVERS": secure_kafka.listener(listener),
        "KAFKA__TOPICS": topic,
        "KAFKA__GROUP_ID": unique("group"),
    }


def invalidates(daemon: DaemonProcess, kafka: Kafka, topic: str, cache: "redis.Redis") -> None:
    cache.set("order:single:o1", "stale")
    kafka.produce(topic, [order(1)])
    until_sync(lambda: not cache.exists("order:single:o1"))
    shows_no_secret(daemon)


def shows_no_secret(daemon: DaemonProcess) -> None:
    said = daemon.log() + daemon.out() + daemon.admin("/readyz")[1]
    assert not [word for word in (PASSWORD, KEY_PASSWORD, SECRET, "sesame") if word in said]
    assert "Traceback" not in said


def test_by_a_password_over_tls_as_a_static_member(
    run_daemon: RunDaemon,
    secure_kafka: SecureBroker,
    topic: str,
    redis_url: str,
    redis_now: "redis.Redis",
    tmp_path: Path,
) -> None:
    (tmp_path / "kafka__sasl__password").write_text(f"{PASSWORD}\n")
    given = documented("scram", KAFKA__SASL__USERNAME=USER)
    given |= settings(secure_kafka, "both", f"^{topic}$", redis_url)
    daemon = run_daemon(
        **given,
        SECRETS_DIR=str(tmp_path),
        KAFKA__TLS__CA_FILE=str(secure_kafka.certificates.authority),
        KAFKA__INSTANCE_ID="replica-1",
        LOG__LEVEL="debug",
    ).await_ready()
    kafka = Kafka(secure_kafka.bootstrap)
    invalidates(daemon, kafka, topic, redis_now)
    group = given["KAFKA__GROUP_ID"]
    found = kafka.admin.describe_consumer_groups([group])[group].result(60)
    assert [member.group_instance_id for member in found.members] == ["replica-1"]
    assert daemon.stop() == 0


def test_by_a_certificate_and_under_another_name_if_needed(
    run_daemon: RunDaemon,
    secure_kafka: SecureBroker,
    topic: str,
    redis_url: str,
    redis_now: "redis.Redis",
) -> None:
    own = secure_kafka.certificates.client
    given = settings(secure_kafka, "tls", topic, redis_url) | documented(
        "CERT_FILE",
        KAFKA__TLS__CA_FILE=str(secure_kafka.certificates.authority),
        KAFKA__TLS__CERT_FILE=str(own.certificate),
        KAFKA__TLS__KEY_FILE=str(own.key),
    )
    given["KAFKA__TLS__KEY_PASSWORD"] = KEY_PASSWORD
    given["KAFKA__BOOTSTRAP_SERVERS"] = given["KAFKA__BOOTSTRAP_SERVERS"].replace(
        "127.0.0.1", "localhost"
    )
    careful = run_daemon(**given)
    until_sync(lambda: "Hostname mismatch" in careful.admin("/readyz")[1])
    careful.stop()
    daemon = run_daemon(**given, KAFKA__TLS__CHECK_HOSTNAME="false").await_ready()
    invalidates(daemon, Kafka(secure_kafka.bootstrap), topic, redis_now)
    assert daemon.stop() == 0


async def test_by_a_token(
    run_daemon: RunDaemon,
    secure_kafka: SecureBroker,
    topic: str,
    redis_url: str,
    redis_now: "redis.Redis",
    tokens: TokenServer,
) -> None:
    daemon = run_daemon(
        **settings(secure_kafka, "oauth", topic, redis_url),
        **documented(
            "TOKEN_URL",
            KAFKA__SASL__TOKEN_URL=tokens.url,
            KAFKA__SASL__CLIENT_ID=CLIENT,
            KAFKA__TLS__ENABLED="false",  # that listener and the token server know no TLS
        ),
        KAFKA__SASL__ALLOW_UNENCRYPTED="true",
        KAFKA__SASL__CLIENT_SECRET=SECRET,
    )
    await until(lambda: asyncio.to_thread(daemon.await_ready))
    await asyncio.to_thread(invalidates, daemon, Kafka(secure_kafka.bootstrap), topic, redis_now)
    assert tokens.asked[0]["scope"] == "kafka"
    assert await asyncio.to_thread(daemon.stop) == 0


def test_by_iam_a_daemon_without_a_role_says_that_it_needs_one(
    run_daemon: RunDaemon,
    secure_kafka: SecureBroker,
    topic: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/no/such/file")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    daemon = run_daemon(
        **settings(secure_kafka, "oauth", topic, redis_url),
        KAFKA__SASL__MECHANISM="aws-msk-iam",
        KAFKA__SASL__REGION="eu-west-1",
        KAFKA__SASL__ALLOW_UNENCRYPTED="true",
    )
    said = "no token from IAM in eu-west-1: no AWS credentials"
    until_sync(lambda: said in daemon.admin("/readyz")[1])
    assert daemon.stop() == 0


def test_a_wrong_password_is_retried_and_logged_in_one_line(
    run_daemon: RunDaemon, secure_kafka: SecureBroker, topic: str, redis_url: str
) -> None:
    daemon = run_daemon(
        **settings(secure_kafka, "sasl", topic, redis_url),
        KAFKA__SASL__MECHANISM="scram-sha-512",
        KAFKA__SASL__USERNAME=USER,
        KAFKA__SASL__PASSWORD="sesame",
    )
    until_sync(lambda: "it rejects our login" in daemon.admin("/readyz")[1])
    assert "it rejects our login" in daemon.events("server-unavailable")[-1]["reason"]
    shows_no_secret(daemon)
    assert daemon.stop() == 0


def test_a_key_that_cannot_be_used_ends_the_start(
    run_daemon: RunDaemon, secure_kafka: SecureBroker, topic: str, redis_url: str
) -> None:
    daemon = run_daemon(
        **settings(secure_kafka, "tls", topic, redis_url),
        KAFKA__TLS__ENABLED="true",
        KAFKA__TLS__CERT_FILE=str(secure_kafka.certificates.client.both),
    )
    assert daemon.wait() == 2
    assert "a wrong KEY_PASSWORD" in daemon.log()
    assert "Traceback" not in daemon.log()
