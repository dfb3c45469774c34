"""Take the steps of a generator of requests: the one loop behind all drivers.

A request's answer is sent back, or what it raised is thrown: the steps clean up, and raise it.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

R = TypeVar("R")


async def drive(steps: Generator[Any, Any, R], answer: Callable[[Any], Awaitable[Any]]) -> R:
    """Take all steps, and return what they return."""
    reply: Any = None
    error: BaseException | None = None
    while True:
        try:
            request = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as done:
            found: R = done.value
            return found
        reply = error = None
        try:
            reply = await answer(request)
        except BaseException as raised:  # noqa: BLE001 - thrown into the steps
            error = raised


def drive_sync(steps: Generator[Any, Any, R], answer: Callable[[Any], Any]) -> R:
    """Take all steps in this thread, and return what they return."""
    reply: Any = None
    error: BaseException | None = None
    while True:
        try:
            request = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as done:
            found: R = done.value
            return found
        reply = error = None
        try:
            reply = answer(request)
        except BaseException as raised:  # noqa: BLE001 - thrown into the steps
            error = raised
