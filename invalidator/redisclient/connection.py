"""One Redis server at a known address: deadlines, credentials, TLS."""

from collections.abc import Mapping
from pathlib import Path
from ssl import SSLError
from typing import Any

import redis
from msgspec import Struct
from redis.asyncio import (
    Connection,
    ConnectionPool,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.driver_info import DriverInfo
from redis.exceptions import AuthenticationError
from redis.maint_notifications import MaintNotificationsConfig

from invalidator.runtime.urls import Address

CLIENT_NAME = "invalidator"
DRIVER = DriverInfo(lib_version=redis.__version__)  # else each connection reads it from disk


class Login(Struct, CredentialProvider, frozen=True):
    """User and password. A file is read for each connection, so that it may change."""

    username: str
    password: str
    password_file: str

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self.password or self._read()
        return (self.username, password) if self.username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()  # a small local file: no slower than a thread for it

    def _read(self) -> str:
        if not self.password_file:
            return ""
        try:
            return Path(self.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise AuthenticationError(
                f"the password file {self.password_file} cannot be read: {reason}"
            ) from None


class TlsConnection(SSLConnection):
    """Reads its certificates for each connection, so that they may change."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        context: Any = self.ssl_context
        context.context = None
        try:
            arguments: Mapping[str, Any] = super()._connection_arguments()
        except (OSError, SSLError) as error:
            files = (context.ca_certs, context.certfile, context.keyfile)
            named = ", ".join(name for name in files if name)
            raise OSError(f"the certificates or keys ({named}) cannot be used: {error}") from None
        return arguments


def options_of(address: Address, timeout: float, tls: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of every connection, except its target.

    Some of the library's defaults are switched off: its ten retries turn a frozen server into a
    wait of a minute, and with maintenance notifications it no longer notices replies that an
    earlier error left in the connection.
    """
    given = dict(address.options)
    secured = {name: value for name, value in given.items() if name.startswith("ssl_")}
    return {
        "db": address.db,
        "credential_provider": login(address.username, address.password, given, "password_file"),
        "client_name": given.get("client_name", CLIENT_NAME),
        "driver_info": DRIVER,
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        **({name: _read_option(name, value) for name, value in {**tls, **secured}.items()}
           if address.tls else {}),
    }  # fmt: skip


def login(
    username: str, password: str, given: Mapping[str, str], file_option: str
) -> CredentialProvider | None:
    file = given.get(file_option, "")
    return Login(username, password, file) if username or password or file else None


def at_host(host: str, port: int, options: Mapping[str, Any], *, tls: bool) -> Redis:
    """Return a client for one server. It connects on first use."""
    kind: type[AbstractConnection] = TlsConnection if tls else Connection
    return Redis.from_pool(ConnectionPool(kind, host=host, port=port, **options))


def at_socket(path: str, options: Mapping[str, Any]) -> Redis:
    return Redis.from_pool(ConnectionPool(UnixDomainSocketConnection, path=path, **options))


def _read_option(name: str, value: str) -> object:
    return value.lower() == "true" if name == "ssl_check_hostname" else value
