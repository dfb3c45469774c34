"""How servers are to be trusted, and how they are to trust us."""

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
    enabled: Switch = Field(default=False, description="Speak TLS with the Kafka brokers.")
    ca_file: OptionalPath = Field(
        default=None,
        description="Certificates (PEM) that the brokers' own must be signed by. Empty: those that "
        "the system trusts.",
    )
    cert_file: OptionalPath = Field(
        default=None,
        description="Our certificate (PEM), where the brokers want one (mutual TLS).",
    )
    key_file: OptionalPath = Field(
        default=None, description="Its private key (PEM). Empty: it stands in CERT_FILE."
    )
    key_password: Secret = Field(
        default=_NO_SECRET, description="The password of the private key, if it has one."
    )
    check_hostname: Switch = Field(
        default=True,
        description="Whether a broker's certificate must name the host that we connected to.",
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
        description="Certificates (PEM) that those of Redis servers must be signed by, for URLs "
        "with TLS (rediss://, rediss+…://) that have no ssl_ca_certs. Empty: those that the system "
        "trusts.",
    )
    cert_file: OptionalPath = Field(
        default=None, description="Our certificate (PEM), where the servers want one (mutual TLS)."
    )
    key_file: OptionalPath = Field(
        default=None, description="Its private key (PEM). Empty: it stands in CERT_FILE."
    )
    key_password: Secret = Field(
        default=_NO_SECRET, description="The password of the private key, if it has one."
    )

    def options(self) -> Mapping[str, str]:
        """As they are written in a URL."""
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
        description="How we tell the Kafka brokers who we are: none, plain, scram-sha-256, "
        "scram-sha-512 or oauthbearer.",
    )
    username: OptionalText = Field(default="", description="The user, for plain and scram.")
    password: Secret = Field(default=_NO_SECRET, description="Its password, for plain and scram.")
    token_url: TokenUrl = Field(
        default="", description="Where tokens are asked for, for oauthbearer (client credentials)."
    )
    client_id: OptionalText = Field(default="", description="The client's id, for oauthbearer.")
    client_secret: Secret = Field(
        default=_NO_SECRET, description="The client's secret, for oauthbearer."
    )
    scope: OptionalText = Field(
        default="", description="What the token is to be good for, for oauthbearer, if anything."
    )
    extensions: Pairs = Field(
        default=(),
        description="What else the brokers want to hear, for oauthbearer: name=value, with commas "
        "between.",
    )
    allow_unencrypted: Switch = Field(
        default=False,
        description="Whether a password (plain) or a token (oauthbearer) may travel without TLS, "
        "for anybody on the way to read.",
    )

    @model_validator(mode="after")
    def _complete(self) -> "Sasl":
        needed = _NEEDED[self.mechanism]
        for name in ("username", "password", "token_url", "client_id", "client_secret"):
            given = getattr(self, name) not in ("", _NO_SECRET)
            if name in needed and not given:
                reason = f"because {_SASL}MECHANISM is {self.mechanism}"
                raise ValueError(f"{_SASL}{name.upper()}: missing, {reason}")
            if given and self.mechanism == "none":
                raise ValueError(f"{_SASL}MECHANISM: missing, because {_SASL}{name.upper()} is set")
        if self.token_url.startswith("http://") and not self.allow_unencrypted:
            raise ValueError(
                f"{_SASL}TOKEN_URL: must begin with https://, or the secret can be read on "
                f"the way; {_SASL}ALLOW_UNENCRYPTED=true lets that be"
            )
        return self

    @property
    def is_readable(self) -> bool:
        """Whether what we send could be used by whoever hears it."""
        return self.mechanism in ("plain", "oauthbearer")


_NEEDED: dict[str, tuple[str, ...]] = {
    "none": (),
    "plain": ("username", "password"),
    "scram-sha-256": ("username", "password"),
    "scram-sha-512": ("username", "password"),
    "oauthbearer": ("token_url", "client_id", "client_secret"),
}


def check_unread(tls: Tls, sasl: Sasl) -> None:
    """Raise ValueError if somebody on the way could read what proves who we are."""
    if sasl.is_readable and not (tls.enabled or sasl.allow_unencrypted):
        what = "the password" if sasl.mechanism == "plain" else "the token"
        raise ValueError(
            f"{_TLS}ENABLED: must be true, because {_SASL}MECHANISM={sasl.mechanism} sends {what} "
            f"as it is; {_SASL}ALLOW_UNENCRYPTED=true lets that be"
        )
