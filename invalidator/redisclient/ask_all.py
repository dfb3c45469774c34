"""Asking several servers the same question, some of which may be frozen."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from redis.asyncio import Redis

from invalidator.runtime.tasks import end

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
        reasons.setdefault(str(error) if error else "no answer in time", []).append(name)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
