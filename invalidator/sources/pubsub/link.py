"""A subscribed connection to one server. Our own, because the library's reconnects silently."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection

from invalidator.redisclient import Client, Cluster, connected, node
from invalidator.redisclient.cluster_routing import slot

PING_EVERY = 1.0  # seconds without a message before a PING is sent
PONG_WITHIN = 3.0  # seconds; PING_EVERY and this together find a dead link within 5 s
MESSAGES = frozenset({b"message", b"pmessage", b"smessage"})
CONFIRMATIONS = frozenset({b"subscribe", b"psubscribe", b"ssubscribe"})
GLOB = re.compile(r"[*?\[\\]")

Push = Any  # a message or a confirmation, as Redis sends it
Subscription = tuple[str, Sequence[str]]  # a command, and its channels


class Link:
    """A connection that is subscribed to channels of one server."""

    def __init__(self, pool: ConnectionPool, connection: AbstractConnection) -> None:
        self.heard = time.monotonic()  # when it was last known to live
        self._pool = pool
        self._connection = connection

    @classmethod
    async def to(cls, server: Redis) -> "Link":
        return cls(server.connection_pool, await connected(server.connection_pool))

    async def subscribe(self, wanted: Iterable[Subscription], take: Callable[[Push], None]) -> None:
        missing = 0
        for command, names in wanted:
            await self._connection.send_command(command, *names)
            missing += len(names)
        await self.confirm(missing, take)

    async def confirm(self, missing: int, take: Callable[[Push], None]) -> None:
        """Wait for confirmations; messages of the first channels may come before the last one."""
        while missing:
            push = await self._connection.read_response()
            if word(push) in CONFIRMATIONS:
                missing -= 1
            else:
                take(push)
        self.heard = time.monotonic()

    async def next(self) -> Push:
        """Return the next push. After a silence, a PING checks whether the link still lives."""
        push = await self._connection.read_response(timeout=PING_EVERY)
        if push is None:
            await self._connection.send_command("PING")
            push = await self._connection.read_response(timeout=PONG_WITHIN)
        if push is None:
            raise TimeoutError(f"no answer to a PING within {PONG_WITHIN:g} s")
        self.heard = time.monotonic()
        return push

    async def close(self) -> None:
        """Disconnect: a subscribed connection must not go back to the pool as it is."""
        await self._connection.disconnect(nowait=True)
        await self._pool.release(self._connection)


async def listening(
    client: Client, channels: Sequence[str], sharded: Sequence[str], take: Callable[[Push], None]
) -> list[Link]:
    """Return links to the nodes that have these channels. Raises what connecting raises."""
    links: list[Link] = []
    try:
        for server, wanted in (await _spread(client, channels, sharded)).items():
            links.append(await Link.to(server))
            await links[-1].subscribe(wanted, take)
    except BaseException:
        for link in links:
            await link.close()
        if isinstance(client, Cluster):
            client.outdated()  # a slot may have moved
        raise
    return links


async def _spread(
    client: Client, channels: Sequence[str], sharded: Sequence[str]
) -> dict[Redis, list[Subscription]]:
    """Divide channels between nodes: any node has a plain one, only some have a sharded one."""
    found: dict[Redis, list[Subscription]] = {}
    slots: dict[int, list[str]] = {}
    for name in sharded:
        slots.setdefault(slot(name), []).append(name)
    for names in slots.values():  # a command's channels must share a slot
        server = await node(client, names[0].encode())
        found.setdefault(server, []).append(("SSUBSCRIBE", names))
    if channels:
        server = next(iter(found), None) or await node(client)
        plain = [name for name in channels if not GLOB.search(name)]
        globs = [name for name in channels if GLOB.search(name)]
        both = (("SUBSCRIBE", plain), ("PSUBSCRIBE", globs))
        found.setdefault(server, []).extend((command, names) for command, names in both if names)
    return found


def word(push: Push) -> bytes:
    """Return the kind of a push; empty if it is none."""
    return push[0] if isinstance(push, list) and isinstance(push[0], bytes) else b""
