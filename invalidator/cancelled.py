"""A task that is asked to end must hear of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cancellations_kept() -> Iterator[None]:
    """The running task learns that it was asked to end meanwhile.

    The client library connects and sends under `asyncio.wait_for`, which on Python 3.11 forgets a
    cancellation that comes when that is just done, or has just failed.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
