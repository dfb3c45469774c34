"""One Redis server as the store sees it: it answers, or it is Unavailable."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.resources import files
from typing import Generic, TypeVar

from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.redisclient import Client, Command, Reply, converse
from invalidator.redisclient.errors import Meaning, Verdict, diagnose, reaching

Name = TypeVar("Name", bound=str | bytes)
Sleep = Callable[[float], Awaitable[object]]

TRIES = 3  # for an error that nobody knows, before its name is given up
BETWEEN_TRIES = 0.1  # seconds


class Script(Struct, frozen=True):
    """A Lua script of this package."""

    name: str
    text: bytes
    sha: str
    runs: tuple[str, ...]  # commands, in their order

    @classmethod
    def load(cls, name: str) -> "Script":
        text = files("invalidator.targets.redis").joinpath("scripts", f"{name}.lua").read_bytes()
        sha = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        runs = sorted(set(re.findall(r"redis\.p?call\('(\w+)'", text.decode())))
        _SCRIPTS[sha] = cls(name, text, sha, tuple(runs))
        return _SCRIPTS[sha]


_SCRIPTS: dict[object, Script] = {}  # by their sha


class Call(Struct, frozen=True):
    """One run of a script."""

    keys: Sequence[bytes]
    arguments: Sequence[bytes | int] = ()

    def command(self, script: Script) -> Command:
        return ("EVALSHA", script.sha, len(self.keys), *self.keys, *self.arguments)


class Server:
    """Error replies that blame a key are values; those that blame the server are raised."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name  # what a person calls it, without a password

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        """Send all in one write; every error reply is a value. Raises Unavailable."""
        if not commands:
            return []
        with reaching(self.name):
            return await converse(self.client, commands)

    async def ask(self, commands: Iterable[Command]) -> list[Reply]:
        """Send all in one write. Raises Unavailable, also where a reply says so."""
        asked = list(commands)
        replies = await self.send(asked)
        for command, reply in zip(asked, replies, strict=True):
            self._unless_away(reply, command)
        return replies

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Reply]:
        """Run a script many times in one write, and teach it to a server that does not know it."""
        replies = await self.ask([call.command(script) for call in calls])
        lost = [at for at, reply in enumerate(replies) if _lost(reply)]
        if lost:
            load = ("SCRIPT", "LOAD", script.text)
            again = await self.ask([load, *(calls[at].command(script) for at in lost)])
            for at, reply in zip(lost, again[1:], strict=True):
                if _lost(reply):
                    raise Unavailable(self.name, f"does not keep the script {script.name}")
                replies[at] = reply
        for reply in replies:
            for part in reply if isinstance(reply, list) else ():
                self._unless_away(part, ("EVALSHA", script.sha))
        return replies

    async def insist(self, commands: Iterable[Command]) -> list[Reply]:
        """`ask` about keys of our own: whatever fails there is no fault of an event."""
        asked = list(commands)
        return self._only_good(await self.ask(asked), asked)

    async def insist_on(self, script: Script, calls: Sequence[Call]) -> list[Reply]:
        """`run` on keys of our own."""
        asked = [call.command(script) for call in calls]
        return self._only_good(await self.run(script, calls), asked)

    def _only_good(self, replies: list[Reply], asked: Sequence[Command]) -> list[Reply]:
        for command, reply in zip(asked, replies, strict=True):
            if isinstance(reply, Exception):
                raise diagnose(reply).unavailable(self.name, _described(command))
        return replies

    def _unless_away(self, reply: Reply, command: Command) -> None:
        if isinstance(reply, Exception):
            verdict = diagnose(reply)
            if verdict.meaning is Meaning.UNAVAILABLE:
                raise verdict.unavailable(self.name, _described(command))


def _described(command: Command) -> str:
    """For a person who grants permissions. Without keys: they may hold an event's data."""
    script = _SCRIPTS.get(command[1]) if len(command) > 1 else None
    if script is None:
        return str(command[0])
    return f"the script {script.name}, which runs {', '.join(script.runs)}"


def run_id(info: bytes) -> bytes:
    """Which process answered, from `INFO server`: a cursor means nothing to another one."""
    _, _, rest = info.partition(b"run_id:")
    return rest.partition(b"\r\n")[0]


def _lost(reply: Reply) -> bool:
    return isinstance(reply, Exception) and diagnose(reply).meaning is Meaning.NOSCRIPT


class Answers(Struct, Generic[Name]):
    """What became of each name."""

    replies: dict[Name, Reply]
    failed: dict[Name, Verdict]


async def each(
    names: Sequence[Name],
    attempt: Callable[[Sequence[Sequence[Name]]], Awaitable[list[Reply]]],
    *,
    together: int,
    sleep: Sleep = asyncio.sleep,
) -> Answers[Name]:
    """Ask about many names in groups, whose reply is a list with one part for each name.

    An error for a group may be the fault of one name: its names are asked about again, one by
    one. An error that nobody knows gets a few tries.
    """
    answers: Answers[Name] = Answers({}, {})
    groups = [names[at : at + together] for at in range(0, len(names), together)]
    for left in range(TRIES, -1, -1):
        again: list[Name] = []
        for group, reply in zip(groups, await attempt(groups), strict=True):
            parts = reply if isinstance(reply, list) else [reply] * len(group)
            for name, part in zip(group, parts, strict=True):
                if not isinstance(part, Exception):
                    answers.replies[name] = part
                elif left and ((len(group) > 1 and part is reply) or _unknown(part)):
                    again.append(name)
                else:
                    answers.failed[name] = diagnose(part)
        if not again:
            break
        groups = [[name] for name in again]
        if left < TRIES:
            await sleep(BETWEEN_TRIES)
    return answers


def _unknown(error: Exception) -> bool:
    return diagnose(error).meaning is Meaning.UNKNOWN
