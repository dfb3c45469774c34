"""A task that is asked to end must learn of it.

The client library connects and sends under `asyncio.wait_for`, which on Python 3.11 forgets a
cancellation that arrives when that has just finished or failed.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from invalidator.errors import Unavailable

T = TypeVar("T")
PATIENCE: Final = 1.0  # seconds


@contextmanager
def cancellations_kept() -> Iterator[None]:
    """Raise, at the end, a cancellation that the running task missed meanwhile."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until they have ended. Their results stay to be read."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=PATIENCE)


async def all_of(works: Iterable[Awaitable[T]]) -> list[T]:
    """Run all side by side to their end; then raise a failure, if there is one: a mistake of ours
    before an unavailable server."""
    each = [*works]
    if len(each) == 1:
        return [await each[0]]
    results = await asyncio.gather(*each, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    if failures:
        raise min(failures, key=lambda failure: isinstance(failure, Unavailable))
    return [result for result in results if not isinstance(result, BaseException)]
