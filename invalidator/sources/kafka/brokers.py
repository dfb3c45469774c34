"""The Kafka brokers: their addresses, whom we trust, and how we log in."""

import ssl
from collections.abc import Sequence
from typing import Any, Self

import invalidator.sources.kafka.private  # noqa: F401 - no client without what it fixes
from invalidator.errors import ConfigError
from invalidator.settings.model import Kafka
from invalidator.settings.security import Sasl, Tls
from invalidator.sources.kafka.oauth import Tokens

CLIENT = "invalidator"  # what we call ourselves in the brokers' logs


class Brokers:
    """Knows what every client of the library is built with."""

    def __init__(
        self, servers: Sequence[str], tls: Tls | None = None, sasl: Sasl | None = None
    ) -> None:
        self.address = ",".join(servers)
        self._tls = tls or Tls()
        self._sasl = sasl or Sasl()
        by_token = self._sasl.mechanism == "oauthbearer"
        self._tokens = Tokens(self._sasl, self._trusted) if by_token else None

    @classmethod
    def of(cls, kafka: Kafka) -> Self:
        """Return those of the settings. Raises ConfigError as `check` does."""
        brokers = cls(kafka.bootstrap_servers, kafka.tls, kafka.sasl)
        brokers.check()
        return brokers

    @property
    def refusal(self) -> str:
        """Return why there is no token; empty while there is one, or none is needed."""
        return self._tokens.refusal if self._tokens else ""

    def drop_token(self) -> None:
        """Forget the token, which the brokers rejected."""
        if self._tokens:
            self._tokens.drop()

    def check(self) -> None:
        """Raise ConfigError if a certificate or key cannot be used."""
        try:
            self.options()
        except (OSError, ValueError) as error:
            raise ConfigError(str(error)) from None

    def options(self) -> dict[str, Any]:
        """Return the library's arguments. Files are read each time: certificates are renewed.

        Raises OSError, whose text names the setting.
        """
        protocol = "SSL" if self._tls.enabled else "PLAINTEXT"
        options: dict[str, Any] = {"security_protocol": protocol}
        if self._tls.enabled:
            options["ssl_context"] = self._context()
        if self._sasl.mechanism != "none":
            options |= {
                "security_protocol": f"SASL_{protocol}",
                "sasl_mechanism": self._sasl.mechanism.upper(),
                "sasl_plain_username": self._sasl.username,
                "sasl_plain_password": self._sasl.password.get_secret_value(),
                "sasl_oauth_token_provider": self._tokens,
            }
        return options

    def _context(self) -> ssl.SSLContext:
        tls = self._tls
        try:
            context = ssl.create_default_context(cafile=tls.ca_file)
        except OSError as error:
            raise _unusable("CA_FILE", tls.ca_file, error) from None
        context.check_hostname = tls.check_hostname
        if tls.cert_file:
            try:
                # a password, even an empty one: without any OpenSSL would ask at the terminal
                password = tls.key_password.get_secret_value()
                context.load_cert_chain(tls.cert_file, tls.key_file, password)
            except OSError as error:
                files = " and ".join(str(f) for f in (tls.cert_file, tls.key_file) if f)
                raise _unusable("CERT_FILE and KEY_FILE", files, error) from None
        return context

    def _trusted(self) -> ssl.SSLContext:
        """Trust, for the token's server, what the system trusts and the CA of the brokers."""
        context = ssl.create_default_context()
        if self._tls.ca_file:
            context.load_verify_locations(self._tls.ca_file)
        return context


def _unusable(setting: str, file: object, error: OSError) -> OSError:
    reason = error.strerror
    if isinstance(error, ssl.SSLError):
        # OpenSSL says no more than "PEM lib" of many mistakes
        reason = f"{error.reason or 'SSL'}: no PEM, a wrong key, or a wrong KEY_PASSWORD"
    return OSError(f"INVALIDATOR_KAFKA__TLS__{setting}: {file} cannot be used: {reason or error}")
