"""The Kafka source on a broker that wants to know who asks, in every way that there is."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from invalidator.errors import ConfigError, Unavailable
from invalidator.runtime.health import Part
from invalidator.settings import model as settings
from invalidator.settings.security import Sasl, Tls
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.client import Timing
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.source import Start
from tests.backends import until
from tests.backends.certificates import KEY_PASSWORD
from tests.backends.kafka_client import Kafka, unique
from tests.backends.kafka_secure import PASSWORD, USER, SecureBroker
from tests.backends.tokens import CLIENT, SECRET, TokenServer, token_server
from tests.contract.harness import raws, read

QUICK = Timing(ask_every=0.2, answer=1.0)

Login = tuple[str, dict[str, Any], dict[str, Any]]  # the listener, TLS, SASL
Make = Callable[..., KafkaSource]


@pytest.fixture(scope="module")
def broker(secure_kafka: SecureBroker) -> SecureBroker:
    return secure_kafka


@pytest.fixture(scope="module")
def topic(broker: SecureBroker) -> str:
    kafka = Kafka(broker.bootstrap)
    name = kafka.topic()
    kafka.produce(name, ["for those who may"])
    return name


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    async with token_server() as server:
        yield server


@pytest.fixture
async def make(broker: SecureBroker, topic: str) -> AsyncIterator[Make]:
    """`make(listener, tls, sasl, part)`: a member of a group of its own, closed at the end."""
    async with AsyncExitStack() as stack:

        def new(listener: str, tls: Tls, sasl: Sasl, part: Part | None = None) -> KafkaSource:
            source = KafkaSource(
                Brokers([broker.listener(listener)], tls, sasl),
                [topic],
                unique("group"),
                start=Start("earliest"),
                part=part or Part("kafka"),
                max_wait=0.0,
                timing=QUICK,
            )
            stack.push_async_callback(source.close)
            return source

        yield new


def password(mechanism: str, right: bool = True) -> Sasl:
    word = PASSWORD if right else "sesame"
    return Sasl.model_validate({"mechanism": mechanism, "username": USER, "password": word})


def trusting(broker: SecureBroker, **more: object) -> Tls:
    return Tls.model_validate({"enabled": True, "ca_file": broker.certificates.authority, **more})


def as_client(broker: SecureBroker) -> Tls:
    own = broker.certificates.client
    return trusting(broker, cert_file=own.certificate, key_file=own.key, key_password=KEY_PASSWORD)


async def refusal(source: KafkaSource) -> str:
    with pytest.raises(Unavailable) as refused:
        await source.open()
    said = str(refused.value)
    assert "\n" not in said
    return said


async def test_a_password_opens_the_door(broker: SecureBroker, make: Make) -> None:
    for listener, tls, mechanism in (
        ("sasl", Tls(), "scram-sha-256"),
        ("sasl", Tls(), "scram-sha-512"),
        ("both", trusting(broker), "plain"),
    ):
        source = make(listener, tls, password(mechanism))
        await source.open()
        assert raws(await read(source, 1)) == [b"for those who may"]


async def test_a_certificate_opens_the_door(broker: SecureBroker, make: Make) -> None:
    source = make("tls", as_client(broker), Sasl())
    await source.open()
    assert raws(await read(source, 1)) == [b"for those who may"]


async def test_a_wrong_password_is_said_in_one_line_and_never_shown(
    broker: SecureBroker, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for listener, tls, mechanism in (
        ("sasl", Tls(), "scram-sha-256"),
        ("both", trusting(broker), "plain"),
    ):
        with capture_logs() as logs, caplog.at_level(logging.INFO):
            said = await refusal(make(listener, tls, password(mechanism, right=False)))
        assert said.startswith(f"kafka: {broker.listener(listener)}: it rejects our login: ")
        assert "sesame" not in said + str(logs) + caplog.text
        assert not any(record.exc_info for record in caplog.records)


async def test_what_is_wrong_with_a_certificate_is_said(broker: SecureBroker, make: Make) -> None:
    unknown = broker.certificates.stranger
    as_stranger = trusting(broker, cert_file=unknown.both)
    trusts_nobody = Tls.model_validate({"enabled": True, "ca_file": unknown.certificate})
    assert "certificate verify failed" in await refusal(make("tls", trusts_nobody, Sasl()))
    assert "alert" in await refusal(make("tls", trusting(broker), Sasl()))
    assert "alert" in await refusal(make("tls", as_stranger, Sasl()))


async def test_a_door_of_another_kind_is_guessed_at(broker: SecureBroker, make: Make) -> None:
    for listener in ("tls", "sasl"):
        said = await refusal(make(listener, Tls(), Sasl()))
        assert "it may expect TLS, a certificate, or a login" in said
    said = await refusal(make("sasl", Tls(), password("plain")))
    assert "it does not accept logins by PLAIN" in said


def test_a_file_that_cannot_be_used_is_named_before_anything_starts(broker: SecureBroker) -> None:
    own = broker.certificates.client
    here, nowhere = ("127.0.0.1:1",), broker.directory / "nowhere.pem"
    for tls, words in (
        (trusting(broker, ca_file=nowhere), f"TLS__CA_FILE: {nowhere} cannot be used: No such"),
        (trusting(broker, cert_file=own.both), f"KEY_FILE: {own.both} cannot be used"),
        (trusting(broker, cert_file=own.certificate), "cannot be used"),
    ):
        with pytest.raises(ConfigError, match=words):
            Brokers.of(settings.Kafka(bootstrap_servers=here, tls=tls))
    Brokers.of(settings.Kafka(bootstrap_servers=here, tls=as_client(broker)))


async def test_a_token_opens_the_door(make: Make, tokens: TokenServer) -> None:
    source = make("oauth", Tls(), tokens.settings(scope="kafka"))
    await source.open()
    assert raws(await read(source, 1)) == [b"for those who may"]
    assert len(tokens.asked) == 1, "one for all connections"
    assert tokens.asked == [
        {
            "as": "Basic",
            "client": CLIENT,
            "secret": SECRET,
            "grant_type": "client_credentials",
            "scope": "kafka",
        }
    ]


async def test_a_token_server_that_fails_at_the_start_is_waited_for(
    make: Make, tokens: TokenServer
) -> None:
    tokens.answer = (401, '{"error": "invalid_client", "error_description": "who\\n are you?"}')
    source = make("oauth", Tls(), tokens.settings())
    assert f"no token from {tokens.url}: status 401: who are you?" in await refusal(source)
    tokens.answer = None

    async def opens() -> bool:
        try:
            await source.open()
        except Unavailable:
            return False
        return True

    await until(opens)
    assert raws(await read(source, 1)) == [b"for those who may"]


async def test_a_token_server_that_fails_later_is_seen_in_readiness_and_ends_nothing(
    broker: SecureBroker, topic: str, make: Make, tokens: TokenServer
) -> None:
    """The broker wants another token every second; the library dies of errors it does not know."""
    tokens.life = 2
    part = Part("kafka")
    source = make("oauth", Tls(), tokens.settings(), part)
    await source.open()
    await read(source, 1)
    assert part.reason == ""
    tokens.answer = (503, "come back later")
    await until(lambda: "status 503 without a JSON object" in part.reason)
    Kafka(broker.bootstrap).produce(topic, ["meanwhile"])
    early = await source.read(10)  # a connection of before may still have served
    tokens.answer = None
    assert raws([early] if early else await read(source, 1)) == [b"meanwhile"]
    await until(lambda: not part.reason)
