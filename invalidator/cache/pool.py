"""Pools of connections that cost a read as little as they can.

They are redis-py's without what it records of each use, which is a third of a hit in threads.
"""

from queue import Empty
from typing import Any

from redis import BlockingConnectionPool
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError


class LeanPool(BlockingConnectionPool):
    """For threads: at most so many connections; who wants another one waits."""

    def get_connection(self, command_name: Any = None, *_: Any, **__: Any) -> Any:
        """Return a connection that is ready; wait for one as long as `timeout` says."""
        self._checkpid()
        try:
            connection = self.pool.get(timeout=self.timeout)
        except Empty:
            raise NoConnection("No connection available.") from None
        try:
            if connection is None:
                connection = self.make_connection()  # type: ignore[no-untyped-call]
            connection.connect()
            if not _is_quiet(connection):
                connection.disconnect()
                connection.connect()
        except BaseException:
            self.pool.put_nowait(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        """Give a connection back."""
        self._checkpid()
        if self.owns_connection(connection):
            self.pool.put_nowait(connection)
        else:  # made before a fork
            super().release(connection)  # type: ignore[no-untyped-call]


class LeanAsyncPool(ConnectionPool):
    """For asyncio: the caller sees to it that not too many are wanted at once."""

    async def get_connection(self, command_name: Any = None, *_: Any, **__: Any) -> Any:
        """Return a connection that is ready."""
        connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        """Give a connection back."""
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)


def _is_quiet(connection: Any) -> bool:
    """Return whether nothing is left to read: neither a reply nor that the server hung up."""
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False
