"""Conversations with a real Redis over links that are not ideal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invalidator.redisclient import Command, client, converse
from tests.conftest import StartRedis

PIECE = 64 * 1024


@asynccontextmanager
async def narrow(port: int, bytes_per_second: float) -> AsyncIterator[str]:
    """The URL of a Redis behind a link that carries only so much."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(PIECE):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(len(piece) / bytes_per_second)
        except ConnectionError:
            pass  # the other side hung up
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection("127.0.0.1", port)
        links.append(asyncio.gather(carry(reader, far), carry(near, writer)))

    links: list[asyncio.Future[tuple[None, None]]] = []
    async with await asyncio.start_server(accept, "127.0.0.1", 0, limit=PIECE) as server:
        try:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        finally:
            await asyncio.gather(*links)


async def test_much_is_sent_over_a_narrow_link_though_it_takes_longer_than_one_answer_may(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    commands: list[Command] = [("SET", f"k{n}", b"x" * 200_000) for n in range(80)]
    async with narrow(server.port, 12e6) as url, client(url, 0.5) as redis:
        began = asyncio.get_running_loop().time()
        replies = await converse(redis, commands)
        assert asyncio.get_running_loop().time() - began > 1.0, "it was not narrow"
    assert replies == [b"OK"] * 80


async def test_nothing_to_say_is_nothing_to_hear(start_redis: StartRedis) -> None:
    async with client(start_redis().url, 0.5) as redis:
        assert await converse(redis, []) == []


async def test_a_server_that_became_a_replica_is_looked_for_again(start_redis: StartRedis) -> None:
    """Its name, or who watches it, may lead elsewhere by now."""
    server, other = start_redis(), start_redis()
    async with client(server.url, 0.5) as redis:
        before = await converse(redis, [("CLIENT", "ID")])
        assert before == await converse(redis, [("CLIENT", "ID")])
        await converse(redis, [("REPLICAOF", "127.0.0.1", other.port)])
        (refused,) = await converse(redis, [("SET", "a", "1")])
        assert "read only replica" in str(refused)
        assert before != await converse(redis, [("CLIENT", "ID")])


async def test_a_replica_is_left_when_a_script_says_what_it_is(start_redis: StartRedis) -> None:
    server = start_redis(config={"replicaof": "127.0.0.1 1"})
    async with client(server.url, 0.5) as redis:
        before = await converse(redis, [("CLIENT", "ID")])
        script = "return redis.call('UNLINK', KEYS[1])"
        (refused,) = await converse(redis, [("EVAL", script, 1, "a")])
        assert "read only replica" in str(refused)
        assert before != await converse(redis, [("CLIENT", "ID")])


async def test_a_replica_is_left_whatever_its_last_reply_is(
    start_redis: StartRedis,
) -> None:
    server = start_redis(config={"replicaof": "127.0.0.1 1"})
    async with client(server.url, 0.5) as redis:
        before = await converse(redis, [("CLIENT", "ID")])
        refused, _ = await converse(redis, [("UNLINK", "a"), ("EXISTS", "a")])
        assert "read only replica" in str(refused)
        assert before != await converse(redis, [("CLIENT", "ID")])
