"""Tests poll for a condition, or let other tasks run; none sleeps."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
INTERVAL = 0.01
LIMIT = 60.0  # seconds; it costs nothing where the condition holds, and a busy machine needs it


@overload
async def until(
    condition: Callable[[], Awaitable[T | None]], timeout: float = ..., what: str = ...
) -> T: ...
@overload
async def until(condition: Callable[[], T | None], timeout: float = ..., what: str = ...) -> T: ...
async def until(condition: Callable[[], Any], timeout: float = LIMIT, what: str = "") -> Any:
    """Call the function, plain or async, until its answer is true; return that answer."""
    found: object = None
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = condition()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(INTERVAL)
    except TimeoutError as error:
        raise AssertionError(_missed(timeout, what, found)) from error


def until_sync(condition: Callable[[], T | None], timeout: float = LIMIT, what: str = "") -> T:
    """Do what `until` does, for tests without an event loop."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(_missed(timeout, what, found))
        time.sleep(INTERVAL)
    return found


async def turn() -> None:
    """Let each other task run to its next wait; no time passes."""
    await asyncio.sleep(0)


def _missed(timeout: float, what: str, found: object) -> str:
    return f"not within {timeout:g} s: {what or 'the condition'}; last seen: {found!r}"
