"""What a person is asked before anything is deleted."""

import asyncio
import os
import signal
import sys

import pytest

from invalidator.cli.common import confirmed


def test_ctrl_c_ends_a_question_within_asyncio_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Person:
        def readline(self, *_: int) -> str:
            os.kill(os.getpid(), signal.SIGINT)
            return "y\n"

    async def ask() -> None:
        confirmed("sure? ")
        raise AssertionError("it was answered")

    monkeypatch.setattr(sys, "stdin", Person())
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(ask())
