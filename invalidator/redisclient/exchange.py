"""Many commands in one write on one connection, and their replies."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from hiredis import pack_command
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as TooSlow

from invalidator.redisclient.errors import in_words
from invalidator.runtime.tasks import cancellations_kept, end
from invalidator.runtime.units import by_size

Command = tuple[str | bytes | int, ...]
PORTION = 1 << 20  # bytes; sending them must not take longer than a reply may
PIECES = 8  # of a portion
PIECE = PORTION // PIECES
Reply = Any  # bytes, int, None, lists of these, or a ResponseError


pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # its stub is wrong


async def talk(server: Redis, packed: Iterable[bytes]) -> list[Reply]:
    """Send packed commands on one connection; an error reply is a value in the list.

    This is the hot path: one round trip for nearly every batch, and hiredis packs a command of 256
    keys five times as fast as the client library's pipeline does.
    """
    pool = server.connection_pool
    with cancellations_kept():
        connection = await connected(pool)
        try:
            return await _exchange(connection, packed)
        except BaseException:
            # Replies may still arrive: nobody must ever read them as their own.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)


async def _exchange(connection: AbstractConnection, packed: Iterable[bytes]) -> list[Reply]:
    """Send piece by piece: while the server works on one, the next one is packed."""
    replies: list[Reply] = []
    unanswered: deque[int] = deque()  # how many commands each piece has
    for piece in by_size(packed, PIECE):  # writes that meet their deadline on a slow link
        if len(unanswered) == PIECES:
            replies += await _replies(connection, unanswered.popleft())
        await connection.send_packed_command(piece)
        unanswered.append(len(piece))
    replies += await _replies(connection, sum(unanswered))
    kinds = set(map(type, replies))
    if ReadOnlyError in kinds or (ResponseError in kinds and any(map(_in_script, replies))):
        # It became a replica: a new connection will find the primary. The last reply alone does
        # not show it: it may be that of a read, or of a script that had nothing to write.
        await connection.disconnect(nowait=True)
    return replies


def _in_script(reply: Reply) -> bool:
    """Return whether a script on Redis 6 wraps the error that the server is a replica."""
    return isinstance(reply, ResponseError) and "-READONLY " in str(reply)


async def connected(pool: ConnectionPool) -> AbstractConnection:
    """Connect within one deadline: the library's hold for each step of connecting."""
    limit: float = pool.connection_kwargs["socket_connect_timeout"]
    try:
        async with asyncio.timeout(limit):
            connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]
            return connection
    except TimeoutError:
        said = f"no connection to {_whereto(pool)} within {limit:g} s"
        if _by_tls(pool):
            said += "; a port without TLS does not answer either: is it redis:// there?"
        raise TooSlow(said) from None
    except Disconnected as error:
        if type(error) is not Disconnected:  # such as a missing password
            raise
        raise Disconnected(_advised(error, pool)) from error


def _by_tls(pool: ConnectionPool) -> bool:
    return issubclass(pool.connection_class, SSLConnection)


def _advised(error: Disconnected, pool: ConnectionPool) -> str:
    """Return the reason, with what is probably wrong where it says nothing."""
    said = in_words(str(error))
    if "WRONG_VERSION_NUMBER" in said:
        return f"{_whereto(pool)} does not speak TLS: write redis://, without the second s"
    if "reset by peer" in said or "closed by server" in said:
        more = "a certificate" if _by_tls(pool) else "TLS (rediss://)"
        return f"{_whereto(pool)} closed the connection: it may require {more}"
    return said


def _whereto(pool: ConnectionPool) -> str:
    options = pool.connection_kwargs
    if "host" in options:
        return f"{options['host']}:{options['port']}"
    return str(options.get("path", "the primary"))


async def _replies(connection: AbstractConnection, count: int) -> list[Reply]:
    """Read so many replies.

    The library sets up a deadline for each reply, which costs more than the reply itself: so it
    reads only those that have not arrived, and the parser gives the others.
    """
    replies: list[Reply] = []
    # As hiredis makes it: takes a reply out of the parser without waiting.
    arrived = connection._parser._reader.gets  # type: ignore[attr-defined]
    while len(replies) < count:
        replies.append(await _reply(connection))
        while len(replies) < count and (reply := arrived()) is not NOT_ENOUGH_DATA:
            if isinstance(reply, Disconnected):
                raise reply
            replies.append(reply)
    return replies


async def _reply(connection: AbstractConnection) -> Reply:
    try:
        reply: Reply = await connection.read_response()
    except ResponseError as error:
        return error
    return reply


GRACE = 0.1  # seconds after the first answer; a frozen server costs no more than this
T = TypeVar("T")


async def ask_all(
    servers: Mapping[str, Redis], ask: Callable[[str, Redis], Awaitable[T]], timeout: float
) -> tuple[list[T], str]:
    """Return the answers of those who are quick; and, if there are none, the reasons."""

    async def one(name: str, server: Redis) -> T:
        return await ask(name, server)

    asking = {
        asyncio.create_task(one(name, server), name=f"ask {name}"): name
        for name, server in servers.items()
    }
    try:
        answers = await _first(set(asking), timeout)
    finally:
        await end(*asking)
    return answers, "" if answers else _why_not(asking)


async def _first(waiting: set["asyncio.Task[T]"], timeout: float) -> list[T]:
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    answers: list[T] = []
    while waiting and (left := deadline - clock()) > 0:
        done, waiting = await asyncio.wait(
            waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        answers += [task.result() for task in done if not task.exception()]
        if answers:
            deadline = min(deadline, clock() + GRACE)
    return answers


def _why_not(asked: Mapping["asyncio.Task[T]", str]) -> str:
    reasons: dict[str, list[str]] = {}
    for task, name in asked.items():
        error = None if task.cancelled() else task.exception()
        reasons.setdefault(in_words(str(error)) if error else "no answer in time", []).append(name)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
