"""Calls of the admin port that wait for something."""

import asyncio
import json

import pytest
from pydantic import SecretStr

from invalidator.admin import control
from invalidator.admin.control import Calls
from invalidator.pipeline.rules_in_force import Reloaded
from invalidator.runtime.http import Request


class Stuck:
    """A daemon whose rules lie on a file system that is away."""

    async def reload(self) -> Reloaded:
        await asyncio.Event().wait()
        raise AssertionError

    def pause(self, why: str) -> None:
        raise AssertionError

    def resume(self) -> None:
        raise AssertionError


async def test_a_reload_is_answered_though_the_rules_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "RELOAD_WITHIN", 0.01)
    calls = Calls(Stuck(), SecretStr("a-token-of-the-tests"))
    answer = await calls.routes()["POST", "/reload"](Request("POST", "/reload", {}, {}))
    assert answer.status == 503
    assert json.loads(answer.body)["error"] == "the rules could not be read within 0.01 s"
