"""Which errors are values, which are raised, and what is tried again."""

from collections.abc import Sequence

import pytest
from redis.exceptions import NoScriptError, ResponseError

from invalidator.errors import Unavailable
from invalidator.redisclient import Command, Reply
from invalidator.redisclient.server import BETWEEN_TRIES, Call, Script, Server, ask_each

SCRIPT = Script.of("example", b"return redis.call('GET', KEYS[1])")


class Answering(Server):
    """A server whose replies are known; they are repeated when they end."""

    def __init__(self, *replies: list[Reply]) -> None:
        self.name = "cache"
        self.replies = [*replies]
        self.asked: list[list[Command]] = []

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        self.asked.append([*commands])
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


async def test_a_script_that_the_server_lost_is_loaded_and_run_again() -> None:
    server = Answering([b"1", NoScriptError("NOSCRIPT No matching script.")], [b"sha", b"2"])
    assert await server.run(SCRIPT, [Call([b"a"]), Call([b"b"])]) == [b"1", b"2"]
    load, again = server.asked[1]
    assert (load[:2], again[3]) == (("SCRIPT", "LOAD"), b"b")


async def test_a_server_that_keeps_no_script_is_unavailable() -> None:
    server = Answering(
        [NoScriptError("NOSCRIPT No matching script.")],
        [b"sha", NoScriptError("NOSCRIPT No matching script.")],
    )
    with pytest.raises(Unavailable, match="does not keep the script example"):
        await server.run(SCRIPT, [Call([b"a"])])


async def test_a_missing_permission_names_the_commands_of_the_script() -> None:
    server = Answering([ResponseError("NOPERM User x has no permissions to run the 'get' command")])
    with pytest.raises(Unavailable, match="the script example, which runs GET"):
        await server.run(SCRIPT, [Call([b"a"])])


async def test_an_error_that_nobody_knows_is_retried_for_its_name_alone() -> None:
    odd = ResponseError("ERR odd")
    replies: list[list[Reply]] = [[odd], [1, odd, 1], [odd], [2]]
    asked: list[list[list[str]]] = []
    slept: list[float] = []

    async def attempt(groups: Sequence[Sequence[str]]) -> list[Reply]:
        asked.append([[*group] for group in groups])
        return replies.pop(0)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    answers = await ask_each(["a", "b", "c"], attempt, together=100, sleep=sleep)
    assert asked == [[["a", "b", "c"]], [["a"], ["b"], ["c"]], [["b"]], [["b"]]]
    assert (answers.replies, answers.failed) == ({"a": 1, "b": 2, "c": 1}, {})
    assert slept == [BETWEEN_TRIES] * 2


async def test_an_error_that_stays_is_its_names_in_the_end() -> None:
    async def attempt(groups: Sequence[Sequence[str]]) -> list[Reply]:
        return [ResponseError("ERR odd")] * len(groups)

    async def sleep(seconds: float) -> None:
        pass

    answers = await ask_each(["a"], attempt, sleep=sleep)
    assert (answers.replies, answers.failed["a"].message) == ({}, "ERR odd")
