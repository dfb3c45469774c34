"""Sending to one Redis server: words out, raw replies in."""

from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis

Word = str | bytes | int | float
Command = Sequence[Word]


async def send(client: Redis, *words: Word) -> Any:
    """One command; an error reply is raised."""
    untyped: Any = client
    return await untyped.execute_command(*words)


async def pipelined(client: Redis, commands: Iterable[Command]) -> list[Any]:
    """Many commands in one round trip; an error reply stands in the place of its command."""
    pipe: Any = client.pipeline(transaction=False)
    for words in commands:
        pipe.execute_command(*words)
    replies: list[Any] = await pipe.execute(raise_on_error=False)
    return replies
