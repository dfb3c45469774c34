"""Redis clients, made one way: raw bytes, deadlines on every await, retries left to us."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from invalidator.faults import diagnose

Client = Redis
Command = tuple[str | bytes | int, ...]
PORTION = 1 << 20  # bytes; sending that much must not take longer than an answer may
Reply = Any  # what Redis answers: bytes, int, None, lists of these, or a ResponseError


def client(url: str, timeout: float) -> Client:
    """A client for the server at `url`. It connects on first use.

    The library's defaults are switched off with care: its ten retries turn a frozen server
    into a wait of a minute, and with maintenance notifications it no longer notices replies
    that an earlier error left in the connection.
    """
    made: Client = Redis.from_url(
        url,
        protocol=2,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        client_name="invalidator",
    )
    return made


async def converse(client: Client, commands: Iterable[Command]) -> list[Reply]:
    """Send all commands on one connection; an error reply is a value in the list.

    This is the hot path: one write and one round trip for what nearly every batch has to say, and
    hiredis packs a command of 256 keys five times as fast as the client library's pipeline does.
    """
    packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]  # its stub takes one item
    pool = client.connection_pool
    with _cancellations_kept():
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            replies: list[Reply] = []
            for portion in _portions(packed):
                with _cancellations_kept():
                    await connection.send_packed_command(portion)
                replies += [await _reply(connection) for _ in portion]
            return replies
        except BaseException:
            # Replies may still be on their way: nobody must ever read them as their own.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)


@contextmanager
def _cancellations_kept() -> Iterator[None]:
    """The running task learns that it was asked to end meanwhile.

    The client library sends under `asyncio.wait_for`, which on Python 3.11 forgets a cancellation
    that comes when the sending is just done, or has just failed because the link is broken.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


def _portions(packed: list[bytes]) -> Iterator[list[bytes]]:
    """The deadline holds for a whole write: what is larger could never get through a slow link."""
    portion: list[bytes] = []
    size = 0
    for command in packed:
        if portion and size + len(command) > PORTION:
            yield portion
            portion, size = [], 0
        portion.append(command)
        size += len(command)
    if portion:
        yield portion


async def _reply(connection: AbstractConnection) -> Reply:
    try:
        reply: Reply = await connection.read_response()
    except ResponseError as error:
        return error
    return reply


async def ping(server: Client, name: str) -> None:
    """Raise Unavailable unless it answers."""
    try:
        (reply,) = await converse(server, [("PING",)])
    except (RedisError, OSError, TimeoutError) as error:
        raise diagnose(error).unavailable(name) from error
    if isinstance(reply, Exception):
        raise diagnose(reply).unavailable(name)
