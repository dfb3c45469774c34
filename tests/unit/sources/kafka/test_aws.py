"""Tokens of IAM, signed by AWS's own library: no network is needed for that."""

from base64 import urlsafe_b64decode
from urllib.parse import parse_qs, urlsplit

import pytest
from aiokafka.errors import KafkaConnectionError

from invalidator.errors import ConfigError
from invalidator.settings import load
from invalidator.settings.security import Sasl, Tls
from invalidator.sources.kafka import aws
from invalidator.sources.kafka.brokers import Brokers
from tests.pages import apart

SASL = Sasl(mechanism="aws-msk-iam", region="eu-west-1")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def tokens_of(brokers: Brokers) -> aws.IamTokens:
    tokens = brokers.options()["sasl_oauth_token_provider"]
    assert isinstance(tokens, aws.IamTokens)
    return tokens


async def test_a_token_is_a_signed_request_to_connect() -> None:
    brokers = Brokers(["b-1.shop.kafka.eu-west-1.amazonaws.com:9098"], Tls(enabled=True), SASL)
    options = brokers.options()
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    token = await tokens_of(brokers).token()
    signed = urlsplit(urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    said = parse_qs(signed.query)
    assert signed.hostname == "kafka.eu-west-1.amazonaws.com"
    assert said["Action"] == ["kafka-cluster:Connect"]
    assert said["X-Amz-Credential"][0].startswith("AKIDEXAMPLE/")
    assert "s3cret" not in signed.query
    assert tokens_of(brokers).extensions() == {}


async def test_a_token_is_kept_for_most_of_its_quarter_of_an_hour() -> None:
    time = 0.0
    signed: list[str] = []

    def sign(region: str) -> tuple[str, int]:
        signed.append(region)
        return f"token-{len(signed)}", 900_000

    tokens = aws.IamTokens(SASL, lambda: None, clock=lambda: time, now=lambda: 0.0)  # type: ignore[arg-type, return-value]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "_sign", sign)
        assert await tokens.token() == "token-1"
        time = 700.0
        assert await tokens.token() == "token-1"
        time = 730.0
        assert await tokens.token() == "token-2"
    assert signed == ["eu-west-1"] * 2


async def test_without_credentials_the_reason_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    tokens = tokens_of(Brokers(["b:9098"], Tls(enabled=True), SASL))
    with pytest.raises(KafkaConnectionError, match="IAM in eu-west-1: no AWS credentials: give"):
        await tokens.token()


def test_the_documented_settings_are_these(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = apart(__file__)
    given = block.exports() | {"KAFKA__BOOTSTRAP_SERVERS": "b-1:9098", "KAFKA__TOPICS": "orders"}
    for name, value in given.items():
        monkeypatch.setenv(f"INVALIDATOR_{name}", value)
    assert tokens_of(Brokers.of(load().kafka)).server == "IAM in eu-west-1"


def test_without_the_extra_the_mistake_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "SIGNER", "no_such_library")
    with pytest.raises(ConfigError, match=r"pip install 'invalidator\[aws\]'"):
        Brokers(["b:9098"], Tls(enabled=True), SASL)
