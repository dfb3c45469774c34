"""What has to go together before a password or a token leaves this machine."""

from pathlib import Path

import pytest

from invalidator.errors import ConfigError
from invalidator.settings import describe, load

TOKEN = {
    "SASL__MECHANISM": "OAUTHBEARER",
    "SASL__TOKEN_URL": "https://login.example.com/token",
    "SASL__CLIENT_ID": "me",
    "SASL__CLIENT_SECRET": "hunter2",
}
PLAIN = {"SASL__MECHANISM": "PLAIN", "SASL__USERNAME": "me", "SASL__PASSWORD": "hunter2"}
TLS = {"TLS__ENABLED": "true"}


def set_kafka(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"INVALIDATOR_KAFKA__{name}", value)


def test_by_default_there_is_neither_tls_nor_a_login() -> None:
    kafka = load().kafka
    assert (kafka.tls.enabled, kafka.sasl.mechanism, kafka.instance_id) == (False, "none", "")


@pytest.mark.parametrize(
    "values",
    [
        PLAIN | TLS,
        PLAIN | {"SASL__ALLOW_UNENCRYPTED": "true"},
        PLAIN | {"SASL__MECHANISM": "SCRAM-SHA-512"},
        TOKEN | TLS | {"SASL__SCOPE": "kafka", "SASL__EXTENSIONS": "logicalCluster=lkc-1,pool=p"},
        TLS | {"TLS__CERT_FILE": "both.pem", "TLS__CHECK_HOSTNAME": "false"},
    ],
)
def test_what_goes_together_is_taken_and_shown_without_secrets(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    set_kafka(monkeypatch, values)
    shown = {d.name.removeprefix("INVALIDATOR_KAFKA__"): d.value for d in describe(load())}
    for name, value in values.items():
        expected = "***" if value == "hunter2" else value
        assert shown[name] in (expected, expected.lower())


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        (PLAIN, "TLS__ENABLED", "must be true, because .*MECHANISM=plain sends the password"),
        (TOKEN, "TLS__ENABLED", "must be true, because .*MECHANISM=oauthbearer sends the token"),
        (PLAIN | {"SASL__PASSWORD": ""}, "SASL__PASSWORD", "missing, because .* is plain"),
        ({"SASL__USERNAME": "me"}, "SASL__MECHANISM", "missing, because .*USERNAME is set"),
        (TOKEN | TLS | {"SASL__CLIENT_ID": ""}, "SASL__CLIENT_ID", "missing, because"),
        ({"TLS__CA_FILE": "ca.pem"}, "TLS__ENABLED", "must be true, because .*CA_FILE is set"),
        (TLS | {"TLS__KEY_FILE": "key.pem"}, "TLS__CERT_FILE", "missing, because .*KEY_FILE"),
        (
            TOKEN | TLS | {"SASL__TOKEN_URL": "http://login/token"},
            "SASL__TOKEN_URL",
            "must begin with https://",
        ),
        (
            {"SASL__TOKEN_URL": "https://me:secret@login/token"},
            "SASL__TOKEN_URL",
            r"\(environment\): found .*, expected a URL such as",
        ),
        (
            {"SASL__MECHANISM": "gssapi"},
            "SASL__MECHANISM",
            r'\(environment\): found "gssapi", expected one of none, plain, scram-sha-256',
        ),
        ({"SASL__EXTENSIONS": "a"}, "SASL__EXTENSIONS", "expected name=value"),
        ({"SASL": "{}"}, "SASL", "is a group of settings; set one of .*SASL__MECHANISM"),
        ({"SASL__USER": "me"}, "SASL__USER", "no such setting; did you mean .*SASL__USERNAME"),
        ({"TOPICS": "^orders("}, "TOPICS", r"not '\^orders\(': missing \)"),
    ],
)
def test_what_does_not_is_named(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], name: str, reason: str
) -> None:
    set_kafka(monkeypatch, values)
    with pytest.raises(ConfigError, match=f"^INVALIDATOR_KAFKA__{name}.*{reason}") as refused:
        load()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["kafka__sasl__password", "INVALIDATOR_KAFKA__SASL__PASSWORD"])
def test_a_password_may_come_from_a_mounted_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    set_kafka(monkeypatch, {"SASL__MECHANISM": "scram-sha-256", "SASL__USERNAME": "me"})
    (tmp_path / name).write_text("hunter2\n")
    settings = load(secrets_dir=tmp_path)
    assert settings.kafka.sasl.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


def test_topics_may_be_names_and_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    set_kafka(monkeypatch, {"TOPICS": r"users,^orders\..*", "BOOTSTRAP_SERVERS": "a:1"})
    assert load().kafka.topics == ("users", r"^orders\..*")
