"""A task that is asked to end must hear of it.

The client library connects and sends under `asyncio.wait_for`, which on Python 3.11 forgets a
cancellation that comes when that is just done, or has just failed.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

AGAIN = 0.5  # seconds until a task is asked once more


@contextmanager
def cancellations_kept() -> Iterator[None]:
    """The running task learns that it was asked to end meanwhile."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


async def ended(tasks: "Collection[asyncio.Task[Any]]") -> None:
    """Ask them to end, until they have. What came of them is left to see."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN)
