"""A cancellation that arrives while a command is sent must not get lost."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from invalidator.redisclient import Client, client, converse
from tests.backends.waiting import turn

if TYPE_CHECKING:
    import redis


async def forever(redis: Client) -> None:
    while True:
        await converse(redis, [("PING",)])


async def test_a_cancelled_task_ends_wherever_it_was(redis_url: str) -> None:
    async with client(redis_url, 2.0) as redis:
        await converse(redis, [("PING",)])
        for steps in range(100):
            task = asyncio.create_task(forever(redis))
            for _ in range(steps):
                await turn()
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=60.0)
            assert done, f"cancelled after {steps} steps, it went on"
            assert task.cancelled()


async def test_a_deadline_that_expires_while_a_command_is_sent_is_kept(redis_url: str) -> None:
    async with client(redis_url, 2.0) as redis:
        for _ in range(50):
            task = asyncio.create_task(asyncio.wait_for(forever(redis), 0.003))
            done, _ = await asyncio.wait({task}, timeout=60.0)
            assert done
            assert isinstance(task.exception(), TimeoutError)


async def test_a_cancelled_task_may_still_say_its_last_words(redis_url: str) -> None:
    async def last_words(redis: Client) -> list[object]:
        try:
            await asyncio.Event().wait()
        finally:
            said.extend(await converse(redis, [("PING",)]))
        return []

    said: list[object] = []
    async with client(redis_url, 2.0) as redis:
        task = asyncio.create_task(last_words(redis))
        await turn()
        task.cancel()
        await asyncio.wait({task}, timeout=60.0)
    assert said == [b"PONG"]


async def test_a_task_that_is_cancelled_while_its_link_breaks_ends_all_the_same(
    redis_url: str, redis_now: "redis.Redis"
) -> None:
    async def stubborn(redis: Client) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError):
                await converse(redis, [("PING",)])

    kill: Any = redis_now  # its own signature is untyped
    async with client(redis_url, 2.0) as redis:
        for steps in range(150):
            task = asyncio.create_task(stubborn(redis))
            for _ in range(steps % 30 + 10):
                await turn()
            kill.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=60.0)
            task.cancel()
            assert done, f"cancelled after {steps} steps, it went on"
