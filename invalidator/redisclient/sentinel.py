"""A primary that sentinels watch: all of them are asked, and it is checked on connect."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

from invalidator.redisclient.connection import TlsConnection, at_host, login, options_of
from invalidator.redisclient.exchange import GRACE, Reply, ask_all, pack, talk
from invalidator.runtime.urls import Address, Host

ASK_AGAIN_AFTER = 5.0  # seconds; a primary that lost its sentinels still answers us


class Answer(Struct, frozen=True):
    """The primary, as one sentinel knows it."""

    epoch: int  # grows with each failover: the highest knows best
    host: Host


class Sentinels:
    """The sentinels of one service."""

    def __init__(
        self,
        service: str,
        sentinels: Mapping[str, Redis],
        *,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._sentinels = sentinels
        self._timeout = timeout
        self._clock = clock
        self._asked_at = -ASK_AGAIN_AFTER
        self._primary: Host | None = None

    async def primary(self) -> Host:
        """Return the most recently elected primary. Raises a connection error with all answers."""
        self._asked_at = self._clock()
        answers, why_not = await ask_all(self._sentinels, self._ask, self._timeout)
        if not answers:
            raise Disconnected(f"no sentinel knows where {self._service} is ({why_not})")
        self._primary = max(answers, key=lambda answer: answer.epoch).host
        return self._primary

    async def confirm(self) -> Host | None:
        """Return the primary, asking seldom: an open connection can be used without an answer."""
        if self._clock() - self._asked_at < ASK_AGAIN_AFTER:
            return self._primary
        try:
            async with asyncio.timeout(2 * GRACE):
                return await self.primary()
        except (RedisError, TimeoutError):
            return self._primary

    async def close(self) -> None:
        for sentinel in self._sentinels.values():
            await sentinel.aclose()

    async def _ask(self, name: str, sentinel: Redis) -> Answer:
        where = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        about = ("SENTINEL", "MASTER", self._service)
        address, state = await talk(sentinel, [pack(where), pack(about)])
        if isinstance(address, Exception):
            raise Disconnected(_refusal(address))
        if address is None:
            raise Disconnected(f"knows no service named {self._service}")
        return Answer(_epoch(state), (address[0].decode(), int(address[1])))


class SentinelPool(ConnectionPool):
    """Connections to the current primary."""

    def __init__(self, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(sentinels=sentinels, redis_connect_func=_reject_replicas, **options)

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        assert isinstance(connection, Connection)
        if connection.is_connected:
            primary = await self._sentinels.confirm()
            if primary and primary != (connection.host, connection.port):
                await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)

    async def aclose(self) -> None:
        await super().aclose()
        await self._sentinels.close()


class SentinelConnection(Connection):
    """A connection that looks the primary up each time it connects."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**options)

    async def _connect(self) -> None:
        self.host, self.port = await self._sentinels.primary()
        await super()._connect()  # type: ignore[no-untyped-call]


class SentinelTlsConnection(SentinelConnection, TlsConnection):
    """The same, with TLS."""


def at_service(address: Address, timeout: float, tls: Mapping[str, str]) -> Redis:
    """Return a client for the primary that the sentinels name. It connects on first use."""
    options = options_of(address, timeout, tls)
    given = address.options
    theirs = options | {
        "db": 0,
        "client_name": None,
        "credential_provider": login(
            given.get("sentinel_username", ""),
            given.get("sentinel_password", ""),
            given,
            "sentinel_password_file",
        ),
    }
    asked = {
        f"{host}:{port}": at_host(host, port, theirs, tls=address.tls)
        for host, port in address.hosts
    }
    sentinels = Sentinels(address.service, asked, timeout=timeout / 2)
    kind = SentinelTlsConnection if address.tls else SentinelConnection
    return Redis.from_pool(SentinelPool(sentinels, connection_class=kind, **options))


async def _reject_replicas(connection: AbstractConnection) -> None:
    """Reject a replica, which would refuse writes or lose them: sentinels may lag behind."""
    await connection.on_connect()
    await connection.send_command("ROLE")
    role: Sequence[Reply] = await connection.read_response()
    if role[0] != b"master":
        where = f"{connection.host}:{connection.port}"  # type: ignore[attr-defined]
        raise Disconnected(f"the sentinels name {where}, which is a {role[0].decode()}")


def _epoch(state: Reply) -> int:
    """Return the epoch of the configuration; 0 where we may not ask for it."""
    if not isinstance(state, list):
        return 0
    fields = dict(zip(state[::2], state[1::2], strict=False))
    return int(fields.get(b"config-epoch", 0))


def _refusal(error: Exception) -> str:
    if "unknown command" in str(error).lower():
        return "is no sentinel; for a Redis server, write redis:// in place of redis+sentinel://"
    return str(error)
