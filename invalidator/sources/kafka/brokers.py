"""The Kafka brokers: their addresses, whom we trust, and how we log in."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    KafkaConnectionError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from invalidator.errors import ConfigError, Unavailable
from invalidator.settings.model import Kafka
from invalidator.settings.security import Sasl, Tls
from invalidator.sources.kafka.private import close_connection, describe

if TYPE_CHECKING:
    from invalidator.sources.kafka.oauth import Tokens

CLIENT = "invalidator"  # what we call ourselves in the brokers' logs
TRY_WITHIN = 4.0  # seconds for one server


class Brokers:
    """Knows what every client of the library is built with."""

    def __init__(
        self, servers: Sequence[str], tls: Tls | None = None, sasl: Sasl | None = None
    ) -> None:
        self.address = ",".join(servers)
        self._tls = tls or Tls()
        self._sasl = sasl or Sasl()
        self._tokens: Tokens | None = None
        if self._sasl.mechanism == "oauthbearer":
            # Imported here, since it loads for 20 ms, and few log in with tokens.
            from invalidator.sources.kafka import oauth

            self._tokens = oauth.Tokens(self._sasl, self.trusted)
        if self._sasl.mechanism == "aws-msk-iam":
            from invalidator.sources.kafka import aws

            self._tokens = aws.IamTokens(self._sasl, self.trusted)

    @classmethod
    def of(cls, kafka: Kafka) -> Self:
        """Return those of the settings. Raises ConfigError if a certificate or key is unusable."""
        brokers = cls(kafka.bootstrap_servers, kafka.tls, kafka.sasl)
        try:
            brokers.options()
        except (OSError, ValueError) as error:
            raise ConfigError(str(error)) from None
        return brokers

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
                "sasl_mechanism": self._mechanism,
                "sasl_plain_username": self._sasl.username,
                "sasl_plain_password": self._sasl.password.get_secret_value(),
                "sasl_oauth_token_provider": self._tokens,
            }
        return options

    @property
    def _mechanism(self) -> str:
        """Return the name on the wire. IAM is a token like OAuth's."""
        return "OAUTHBEARER" if self._tokens else self._sasl.mechanism.upper()

    def unavailable(self, reason: str) -> Unavailable:
        """Return the error to raise where a source cannot be read."""
        return Unavailable("kafka", f"{self.address}: {reason}")

    async def why(self) -> str:
        """Return in one line why no broker can be reached; empty if one can.

        The library writes that to its log only.
        """
        servers = collect_hosts(self.address, randomize=False)
        reasons = {f"{host}:{port}": await self._try(host, port) for host, port, _ in servers}
        if not all(reasons.values()):
            return ""
        if len(set(reasons.values())) == 1:
            return next(iter(reasons.values()))
        return "; ".join(f"{server}: {reason}" for server, reason in reasons.items())

    async def _try(self, host: str, port: int) -> str:
        """Ask one server something, as the library would. Return why that fails."""
        connection: AIOKafkaConnection | None = None
        try:
            async with asyncio.timeout(TRY_WITHIN):
                connection = AIOKafkaConnection(host, port, client_id=CLIENT, **self.options())
                await connection.connect()
                await connection.send(MetadataRequest([]))
        except SaslAuthenticationFailed as error:
            if self._tokens:
                self._tokens.drop()
            return f"it rejects our login: {error.args[0] if error.args else describe(error)}"
        except UnsupportedSaslMechanismError:
            return f"it does not accept logins by {self._mechanism}"
        except Exception as error:  # noqa: BLE001 - the reason is what was asked for
            refusal = self._tokens.refusal if self._tokens else ""
            return refusal or _reason(error, tls=self._tls.enabled)
        finally:
            if connection:
                await close_connection(connection)
        return ""

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

    def trusted(self) -> ssl.SSLContext:
        """Return a context that trusts the CAs of system and brokers: for tokens and schemas."""
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


def _reason(error: Exception, *, tls: bool) -> str:
    cause = error.__cause__ if isinstance(error, KafkaConnectionError) else error
    if isinstance(cause, ssl.SSLError):
        wrong = "WRONG_VERSION_NUMBER" in str(cause)
        return (
            "it does not speak TLS: unset INVALIDATOR_KAFKA__TLS__ENABLED"
            if wrong
            else describe(cause)
        )
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused: no broker listens there"
    if isinstance(cause, socket.gaierror):
        return f"no address is known for this name: {cause.strerror}"
    if isinstance(cause, EOFError | ConnectionError):
        expected = "no TLS, or a certificate" if tls else "TLS, a certificate, or a login"
        return f"it closes the connection: it may expect {expected}"
    return describe(error)
