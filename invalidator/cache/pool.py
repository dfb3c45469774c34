"""A pool of connections for threads that costs a read as little as it can."""

from queue import Empty
from typing import Any

from redis import BlockingConnectionPool
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError


class LeanPool(BlockingConnectionPool):
    """redis-py's pool without what it records of each use, which is a third of a hit."""

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


def _is_quiet(connection: Any) -> bool:
    """Return whether nothing is left to read: neither a reply nor that the server hung up."""
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False
