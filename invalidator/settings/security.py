"""Settings for TLS and authentication."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from invalidator.settings.values import (
    Mechanism,
    OptionalPath,
    OptionalText,
    Pairs,
    Secret,
    Switch,
    TokenUrl,
)

_TLS, _SASL = "INVALIDATOR_KAFKA__TLS__", "INVALIDATOR_KAFKA__SASL__"
_NO_SECRET = SecretStr("")


class Group(BaseModel):
    """A group of settings: frozen, and its errors never quote a value, which may be a password."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Tls(Group):
    enabled: Switch = Field(default=False, description="Use TLS for the Kafka brokers.")
    ca_file: OptionalPath = Field(
        default=None,
        description="CA bundle (PEM) used to verify the brokers. Empty: the system's.",
    )
    cert_file: OptionalPath = Field(
        default=None,
        description="Client certificate (PEM), if the brokers require one (mutual TLS).",
    )
    key_file: OptionalPath = Field(
        default=None, description="Its private key (PEM). Empty: it is in CERT_FILE."
    )
    key_password: Secret = Field(
        default=_NO_SECRET, description="Password of the private key, if it has one."
    )
    check_hostname: Switch = Field(
        default=True,
        description="Whether a broker's certificate must match its host name.",
    )

    @model_validator(mode="after")
    def _complete(self) -> "Tls":
        for name in ("ca_file", "cert_file", "key_file"):
            if getattr(self, name) and not self.enabled:
                raise ValueError(
                    f"{_TLS}ENABLED: must be true, because {_TLS}{name.upper()} is set"
                )
        if self.key_file and not self.cert_file:
            raise ValueError(f"{_TLS}CERT_FILE: missing, because {_TLS}KEY_FILE is set")
        return self


class RedisTls(Group):
    ca_file: OptionalPath = Field(
        default=None,
        description="CA bundle (PEM) used to verify Redis servers, for URLs with TLS (rediss://, "
        "rediss+…://) without ssl_ca_certs. Empty: the system's.",
    )
    cert_file: OptionalPath = Field(
        default=None,
        description="Client certificate (PEM), if the servers require one (mutual TLS).",
    )
    key_file: OptionalPath = Field(
        default=None, description="Its private key (PEM). Empty: it is in CERT_FILE."
    )
    key_password: Secret = Field(
        default=_NO_SECRET, description="Password of the private key, if it has one."
    )

    def options(self) -> Mapping[str, str]:
        """Return the options of a Redis URL."""
        given = {
            "ssl_ca_certs": self.ca_file,
            "ssl_certfile": self.cert_file,
            "ssl_keyfile": self.key_file,
            "ssl_password": self.key_password.get_secret_value(),
        }
        return {name: str(value) for name, value in given.items() if value}


class Sasl(Group):
    mechanism: Mechanism = Field(
        default="none",
        description="How to authenticate to the Kafka brokers: none, plain, scram-sha-256, "
        "scram-sha-512, oauthbearer, or aws-msk-iam (IAM of AWS, which requires invalidator[aws]).",
    )
    username: OptionalText = Field(default="", description="User name, for plain and scram.")
    password: Secret = Field(default=_NO_SECRET, description="Password, for plain and scram.")
    token_url: TokenUrl = Field(
        default="", description="Token endpoint, for oauthbearer (client credentials)."
    )
    client_id: OptionalText = Field(default="", description="Client id, for oauthbearer.")
    client_secret: Secret = Field(default=_NO_SECRET, description="Client secret, for oauthbearer.")
    scope: OptionalText = Field(
        default="", description="Scope of the token, for oauthbearer. Empty: none."
    )
    extensions: Pairs = Field(
        default=(),
        description="SASL extensions that the brokers require, for oauthbearer: name=value, "
        "separated by commas.",
    )
    region: OptionalText = Field(
        default="", description="AWS region of the brokers, for aws-msk-iam (eu-west-1)."
    )
    allow_unencrypted: Switch = Field(
        default=False,
        description="Whether to permit a password (plain) or a token (oauthbearer) without TLS, "
        "readable for anyone on the network.",
    )

    @model_validator(mode="after")
    def _complete(self) -> "Sasl":
        needed = _NEEDED[self.mechanism]
        for name in ("username", "password", "token_url", "client_id", "client_secret", "region"):
            given = getattr(self, name) not in ("", _NO_SECRET)
            if name in needed and not given:
                reason = f"because {_SASL}MECHANISM is {self.mechanism}"
                raise ValueError(f"{_SASL}{name.upper()}: missing, {reason}")
            if given and self.mechanism == "none":
                raise ValueError(f"{_SASL}MECHANISM: missing, because {_SASL}{name.upper()} is set")
        if self.token_url.startswith("http://") and not self.allow_unencrypted:
            raise ValueError(
                f"{_SASL}TOKEN_URL: must begin with https://, since the secret could be read "
                f"on the network; {_SASL}ALLOW_UNENCRYPTED=true permits it"
            )
        return self

    @property
    def is_readable(self) -> bool:
        """Return true if someone on the network could use what is sent."""
        return self.mechanism in ("plain", "oauthbearer", "aws-msk-iam")


_NEEDED: dict[str, tuple[str, ...]] = {
    "none": (),
    "plain": ("username", "password"),
    "scram-sha-256": ("username", "password"),
    "scram-sha-512": ("username", "password"),
    "oauthbearer": ("token_url", "client_id", "client_secret"),
    "aws-msk-iam": ("region",),
}


def check_unread(tls: Tls, sasl: Sasl) -> None:
    """Raise ValueError if someone on the network could read the credentials."""
    if sasl.is_readable and not (tls.enabled or sasl.allow_unencrypted):
        what = "the password" if sasl.mechanism == "plain" else "the token"
        raise ValueError(
            f"{_TLS}ENABLED: must be true, because {_SASL}MECHANISM={sasl.mechanism} sends {what} "
            f"unencrypted; {_SASL}ALLOW_UNENCRYPTED=true permits it"
        )
