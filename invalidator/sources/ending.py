"""Ending a task of a source for certain."""

import asyncio
from typing import Any, Final

PATIENCE: Final = 1.0  # seconds


async def end(task: "asyncio.Task[Any]") -> None:
    """Cancel it, until it has ended: the client library can lose a cancellation on Python 3.11."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
