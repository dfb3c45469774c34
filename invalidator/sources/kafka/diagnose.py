"""Finds out why no broker can be reached: the library tells its log only."""

import asyncio
import ssl

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    KafkaConnectionError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from invalidator.sources.describe import describe
from invalidator.sources.kafka.brokers import CLIENT, Brokers
from invalidator.sources.kafka.private import close_connection

TRY_WITHIN = 4.0  # seconds for one server


async def why(brokers: Brokers) -> str:
    """Return the reason in one line; empty if a broker can be reached."""
    servers = collect_hosts(brokers.address, randomize=False)
    reasons = {f"{host}:{port}": await _try(host, port, brokers) for host, port, _ in servers}
    if not all(reasons.values()):
        return ""
    if len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{server}: {reason}" for server, reason in reasons.items())


async def _try(host: str, port: int, brokers: Brokers) -> str:
    """Ask one server something, as the library would. Return why that fails."""
    connection: AIOKafkaConnection | None = None
    try:
        async with asyncio.timeout(TRY_WITHIN):
            connection = AIOKafkaConnection(host, port, client_id=CLIENT, **brokers.options())
            await connection.connect()
            await connection.send(MetadataRequest([]))
    except SaslAuthenticationFailed as error:
        brokers.drop_token()
        return f"it rejects our login: {error.args[0] if error.args else describe(error)}"
    except UnsupportedSaslMechanismError:
        return f"it does not accept logins by {brokers.options()['sasl_mechanism']}"
    except Exception as error:  # noqa: BLE001 - the reason is what was asked for
        return brokers.refusal or _reason(error)
    finally:
        if connection:
            await close_connection(connection)
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, KafkaConnectionError):
        if isinstance(error.__cause__, ssl.SSLError):
            return describe(error.__cause__)
        if isinstance(error.__cause__, EOFError | ConnectionError):
            return "it closes the connection: it may expect TLS, a certificate, or a login"
    return describe(error)
