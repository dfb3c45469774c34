"""Commands to Redis by redis-py's clients, standalone (also behind Sentinel) and cluster."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast

from hiredis import pack_command
from redis.exceptions import NoScriptError, ResponseError

from invalidator.cache.client import CONNECTIONS
from invalidator.cache.errors import CacheError, CacheUnavailable
from invalidator.cache.scripts import Command, with_source

Reply = Any
_packed: Callable[[Command], bytes] = cast(Any, pack_command)


class Server(Protocol):
    """One Redis, as asyncio sees it."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]: ...
    async def send(self, commands: Sequence[Command]) -> list[Reply]: ...


class SyncServer(Protocol):
    """One Redis, as threads see it."""

    def get(self, keys: Sequence[str]) -> list[bytes | None]: ...
    def send(self, commands: Sequence[Command]) -> list[Reply]: ...


class ClosedServer:
    """Stands in for the server once a cache is closed: a load under way keeps its value."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        raise closed()

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        raise CacheUnavailable(str(closed()))


class ClosedSyncServer:
    """Does what `ClosedServer` does."""

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        raise closed()

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        raise CacheUnavailable(str(closed()))


def closed() -> CacheError:
    return CacheError("the cache is closed")


def server_of(client: Any, timeout: float | None = None) -> Server:
    """Return the server behind a client of redis.asyncio; a command may take `timeout` seconds."""
    if getattr(client, "is_server", False):
        return client  # type: ignore[no-any-return]
    _check(client, asynchronous=True)
    return _Cluster(client, timeout) if _is_cluster(client) else _Standalone(client, timeout)


def sync_server_of(client: Any) -> SyncServer:
    """Return the server behind a client of redis."""
    if getattr(client, "is_server", False):
        return client  # type: ignore[no-any-return]
    _check(client, asynchronous=False)
    return _SyncCluster(client) if _is_cluster(client) else _SyncStandalone(client)


class _Standalone:
    """Commands on one connection of the client's pool.

    Without the client's own retries and records, which cost a third of a read: the breaker and the
    loader are the answer to a failure.
    """

    def __init__(self, client: Any, timeout: float | None) -> None:
        self._timeout = timeout
        self._pool = client.connection_pool
        # A pool of redis-py opens a connection for each command that waits, or refuses it.
        self._room = asyncio.Semaphore(min(self._pool.max_connections, CONNECTIONS))

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        if len(keys) == 1:
            return await self._replies([("GET", keys[0])])
        (values,) = await self._replies([("MGET", *keys)])
        return values  # type: ignore[no-any-return]

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        try:
            return await self._replies(commands)
        except NoScriptError:
            return await self._replies(list(map(with_source, commands)))

    async def _replies(self, commands: Sequence[Command]) -> list[Reply]:
        async with self._room, asyncio.timeout(self._timeout):
            connection = await self._pool.get_connection()
            try:
                await connection.send_packed_command(b"".join(map(_packed, commands)))
                if len(commands) == 1:
                    return [await connection.read_response()]
                return _all([await _reply(connection) for _ in commands])
            except ResponseError:
                raise
            except BaseException:  # its reply may still come: nobody else may read that
                await connection.disconnect(nowait=True)
                raise
            finally:
                await self._pool.release(connection)


async def _reply(connection: Any) -> Reply:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


class _Cluster:
    """Each command goes to the node of its key, all of them side by side."""

    def __init__(self, client: Any, timeout: float | None) -> None:
        self._timeout = timeout
        self._client = client
        self._execute = client.execute_command
        self._is_known = False  # what the cluster looks like
        self._first = asyncio.Lock()

    async def _look(self) -> None:
        """Learn the cluster's layout: where several first commands do so themselves, redis-py
        closes connections that others of them use."""
        async with self._first:
            if not self._is_known:
                await self._client.initialize()
                self._is_known = True

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        async with asyncio.timeout(self._timeout):
            if not self._is_known:
                await self._look()
            if len(keys) == 1:
                return [await self._execute("GET", keys[0])]
            return list(await asyncio.gather(*(self._execute("GET", key) for key in keys)))

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        async with asyncio.timeout(self._timeout):
            if not self._is_known:
                await self._look()
            if len(commands) == 1:
                return [await _scripted(self._execute, commands[0])]
            calls = (_scripted(self._execute, command) for command in commands)
            return _all(await asyncio.gather(*calls, return_exceptions=True))


class _SyncStandalone:
    """As `_Standalone`."""

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        if len(keys) == 1:
            return self._replies([("GET", keys[0])])
        (values,) = self._replies([("MGET", *keys)])
        return values  # type: ignore[no-any-return]

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        try:
            return self._replies(commands)
        except NoScriptError:
            return self._replies(list(map(with_source, commands)))

    def _replies(self, commands: Sequence[Command]) -> list[Reply]:
        connection = self._pool.get_connection()
        try:
            connection.send_packed_command((b"".join(map(_packed, commands)),))
            if len(commands) == 1:
                return [connection.read_response()]
            return _all([_sync_reply(connection) for _ in commands])
        except ResponseError:
            raise
        except BaseException:  # its reply may still come: nobody else may read that
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)


def _sync_reply(connection: Any) -> Reply:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


class _SyncCluster:
    """Each command goes to the node of its key; several are sent by several threads."""

    def __init__(self, client: Any) -> None:
        self._execute = client.execute_command
        self._threads = ThreadPoolExecutor(16, "invalidator-cache")

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        if len(keys) == 1:
            return [self._execute("GET", keys[0])]
        return list(self._threads.map(lambda key: self._execute("GET", key), keys))

    def send(self, commands: Sequence[Command]) -> list[Reply]:
        if len(commands) == 1:
            return [_sync_scripted(self._execute, commands[0])]
        return list(self._threads.map(lambda each: _sync_scripted(self._execute, each), commands))


async def _scripted(execute: Callable[..., Any], command: Command) -> Reply:
    try:
        return await execute(*command)
    except NoScriptError:
        return await execute(*with_source(command))


def _sync_scripted(execute: Callable[..., Any], command: Command) -> Reply:
    try:
        return execute(*command)
    except NoScriptError:
        return execute(*with_source(command))


def _all(replies: Sequence[Reply]) -> list[Reply]:
    """Return the replies; raise the first that is an error."""
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return list(replies)


def _is_cluster(client: Any) -> bool:
    return hasattr(client, "get_node_from_key")


def _check(client: Any, *, asynchronous: bool) -> None:
    """Raise CacheError for a client that cannot do."""
    ours = type(client).__module__.startswith("redis.asyncio")
    if ours != asynchronous:
        wanted = "redis.asyncio.Redis or RedisCluster" if asynchronous else "redis.Redis"
        raise CacheError(f"this cache takes a client of {wanted}, not {type(client).__name__}")
    settings = _settings(client)
    if settings.get("decode_responses"):
        raise CacheError("entries are bytes: make the client with decode_responses=False")


def _settings(client: Any) -> dict[str, Any]:
    for owner in (getattr(client, "connection_pool", None), client, _nodes(client)):
        found = getattr(owner, "connection_kwargs", None)
        if isinstance(found, dict):
            return found
    return {}


def _nodes(client: Any) -> Any:
    return getattr(client, "nodes_manager", None)
