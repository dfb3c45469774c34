"""A connection of its own for the announcements, made as a client makes its connections."""

import asyncio
import random
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ResponseError

CONNECT: Final = 3.0  # seconds
CHUNK: Final = 1 << 16


def link_of(client: Any, *, socket_timeout: float | None) -> Any:
    """Return a connection, not yet open, to the server of a client; to any primary of a cluster."""
    if hasattr(client, "get_primaries"):
        node = random.choice(client.get_primaries())  # noqa: S311 - each receives all messages
        made, settings = _of_node(client, node)
    else:
        pool = client.connection_pool
        made, settings = pool.connection_class, pool.connection_kwargs
    return made(
        **{
            **settings,
            "protocol": 2,  # a ping is answered in order with the messages
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": CONNECT,
            "maint_notifications_config": None,
        }
    )


def _of_node(client: Any, node: Any) -> tuple[Any, Any]:
    if hasattr(node, "connection_class"):  # asyncio
        return node.connection_class, node.connection_kwargs
    pool = client.get_redis_connection(node).connection_pool
    return pool.connection_class, pool.connection_kwargs


class Replies:
    """Reads what arrives on a link of asyncio, as much as there is at once.

    redis-py wakes its reader for each message, which costs most of what a listener costs.
    """

    def __init__(self, link: Any) -> None:
        self._stream: asyncio.StreamReader = link._reader
        self._transport = link._writer.transport
        self._parser = hiredis.Reader()

    async def read(self) -> list[Any]:
        self._transport.resume_reading()
        data = await self._stream.read(CHUNK)
        self._transport.pause_reading()  # else each message wakes the event loop
        if not data:
            raise NoConnection("the link was closed")
        self._parser.feed(data)
        replies = []
        while (reply := self._parser.gets()) is not False:
            if isinstance(reply, Exception):  # not allowed, for one
                raise ResponseError(str(reply))
            replies.append(reply)
        return replies
