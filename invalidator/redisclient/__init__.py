"""Redis clients, all made alike: raw bytes, a deadline on every await, retries left to us."""

from collections.abc import Iterable, Mapping, Sequence

from redis.asyncio import Redis

from invalidator.redisclient.cluster import Cluster
from invalidator.redisclient.connection import at_host, at_socket, options_of
from invalidator.redisclient.errors import diagnose, reaching
from invalidator.redisclient.exchange import Command, Reply, connected, pack, talk
from invalidator.redisclient.sentinel import at_service
from invalidator.runtime.urls import parse_redis_url

__all__ = [
    "Client",
    "Cluster",
    "Command",
    "Reply",
    "client",
    "connected",
    "converse",
    "node",
    "nodes",
    "ping",
    "publish",
]

Client = Redis | Cluster


def client(url: str, timeout: float, tls: Mapping[str, str] | None = None) -> Client:
    """Return a client for `url`. It connects on first use.

    `tls` holds options such as ssl_ca_certs, for URLs with TLS that do not have their own.
    """
    address = parse_redis_url(url)
    tls = tls or {}
    if address.kind == "sentinel":
        return at_service(address, timeout, tls)
    options = options_of(address, timeout, tls)
    if address.kind == "cluster":
        return Cluster(
            address, lambda host: at_host(*host, options, tls=address.tls), timeout=timeout
        )
    if address.kind == "socket":
        return at_socket(address.path, options)
    ((host, port),) = address.hosts
    return at_host(host, port, options, tls=address.tls)


async def converse(client: Client, commands: Iterable[Command]) -> list[Reply]:
    """Send all commands in one write; an error reply is a value in the list."""
    if isinstance(client, Cluster):
        return await client.converse(commands)
    return await talk(client, map(pack, commands))


async def publish(client: Client, channel: str, messages: Sequence[bytes]) -> list[Reply]:
    """Return how many received each, or an error; a cluster's node counts only its own."""
    replies = await converse(client, [("PUBLISH", channel, message) for message in messages])
    if isinstance(client, Cluster) and all(isinstance(reply, int) for reply in replies):
        everywhere = await client.listeners(channel)
        return [max(reply, everywhere) for reply in replies]
    return replies


async def node(client: Client, key: bytes | None = None) -> Redis:
    """Return the server that has this key, or any: for those who need a connection of their own.

    Raises what `converse` raises. The next call may return another node of a cluster.
    """
    if not isinstance(client, Cluster):
        return client
    if key is None:
        return await client.anyone()
    (address,) = (await client.owners([key])).values()
    return client.node(address)


async def nodes(client: Client) -> Mapping[str, Redis]:
    """Return all servers that have keys, by address; of a cluster, its primaries now."""
    return await client.primaries() if isinstance(client, Cluster) else {"": client}


async def ping(server: Client, name: str) -> None:
    """Raise Unavailable unless it answers."""
    with reaching(name):
        (reply,) = await converse(server, [("PING",)])
    if isinstance(reply, Exception):
        raise diagnose(reply).unavailable(name)
