"""A cancellation that somebody swallows is heard all the same."""

import asyncio

import pytest

from invalidator.runtime.tasks import cancellations_kept, end
from tests.backends.waiting import turn


@pytest.mark.parametrize("then", ["it fails", "it succeeds"])
async def test_what_was_swallowed_is_raised(then: str) -> None:
    begun = asyncio.Event()

    async def deaf() -> None:
        with cancellations_kept():
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if then == "it fails":
                    raise ConnectionError from None

    task = asyncio.create_task(deaf())
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_one_that_came_before_is_no_matter() -> None:
    async def late() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with cancellations_kept():
                return "closed"
        return "never"

    task = asyncio.create_task(late())
    await turn()
    task.cancel()
    assert await task == "closed"


async def test_who_does_not_hear_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.runtime.tasks.PATIENCE", 0.01)
    heard = 0

    async def deaf() -> None:
        nonlocal heard
        while heard < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(asyncio.Event().wait())]
    await turn()
    await end(*tasks)
    assert heard == 3
    assert all(task.done() for task in tasks)
