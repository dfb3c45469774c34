"""Redis clients, made one way: raw bytes, deadlines on every await, retries left to us."""

from collections.abc import Iterable, Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from invalidator.connect.sentinel import at_service
from invalidator.connect.server import at_host, at_socket, options_of
from invalidator.connect.talk import PORTION, Command, Reply, pack, talk
from invalidator.faults import diagnose
from invalidator.urls import parse_redis_url

__all__ = ["PORTION", "Client", "Command", "Reply", "client", "converse", "ping"]

Client = Redis


def client(url: str, timeout: float, tls: Mapping[str, str] | None = None) -> Client:
    """A client for what is at `url`. It connects on first use.

    `tls` holds options such as ssl_ca_certs, for URLs with TLS that do not have their own.
    """
    address = parse_redis_url(url)
    tls = tls or {}
    if address.kind == "sentinel":
        return at_service(address, timeout, tls)
    options = options_of(address, timeout, tls)
    if address.kind == "socket":
        return at_socket(address.path, options)
    ((host, port),) = address.hosts
    return at_host(host, port, options, tls=address.tls)


async def converse(client: Client, commands: Iterable[Command]) -> list[Reply]:
    """Send all commands in one write; an error reply is a value in the list."""
    return await talk(client, map(pack, commands))


async def ping(server: Client, name: str) -> None:
    """Raise Unavailable unless it answers."""
    try:
        (reply,) = await converse(server, [("PING",)])
    except (RedisError, OSError, TimeoutError) as error:
        raise diagnose(error).unavailable(name) from error
    if isinstance(reply, Exception):
        raise diagnose(reply).unavailable(name)
