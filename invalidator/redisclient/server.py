"""One Redis server that answers, or is Unavailable."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.redisclient import Client, Command, Reply, converse
from invalidator.redisclient.errors import Meaning, Verdict, diagnose, reaching

Name = TypeVar("Name", bound=str | bytes)
Sleep = Callable[[float], Awaitable[object]]

TRIES = 3  # of a name alone, before an error that nobody knows is the name's
BETWEEN_TRIES = 0.1  # seconds


class Script(Struct, frozen=True):
    """A Lua script."""

    name: str
    text: bytes
    sha: str

    @classmethod
    def of(cls, name: str, text: bytes) -> "Script":
        script = cls(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())
        return _SCRIPTS.setdefault(script.sha, script)

    def __str__(self) -> str:
        runs = sorted(set(re.findall(r"redis\.p?call\('(\w+)'", self.text.decode())))
        return f"the script {self.name}, which runs {', '.join(runs)}"


_SCRIPTS: dict[object, Script] = {}  # by their sha


class Call(Struct, frozen=True):
    """One run of a script."""

    keys: Sequence[bytes]
    arguments: Sequence[bytes | int] = ()

    def command(self, script: Script) -> Command:
        return ("EVALSHA", script.sha, len(self.keys), *self.keys, *self.arguments)


class Server:
    """A client whose error replies are values where they blame a key, and raised otherwise."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name  # for a person, without a password

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        """Send all in one write; every error reply is a value. Raises Unavailable."""
        with reaching(self.name):
            return await converse(self.client, commands) if commands else []

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """Send all in one write. Raises Unavailable, also where a reply says so."""
        replies = await self.send(commands)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, Exception):
                self._unless_unavailable(reply, command)
        return replies

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Reply]:
        """Run a script many times in one write; load it where the server does not have it."""
        replies = await self.ask([call.command(script) for call in calls])
        if lost := [at for at, reply in enumerate(replies) if _lost(reply)]:
            load = ("SCRIPT", "LOAD", script.text)
            _, *again = await self.ask([load, *(calls[at].command(script) for at in lost)])
            if any(map(_lost, again)):
                raise Unavailable(self.name, f"does not keep the script {script.name}")
            for at, reply in zip(lost, again, strict=True):
                replies[at] = reply
        for reply in replies:
            for part in reply if isinstance(reply, list) else ():
                if isinstance(part, Exception):
                    self._unless_unavailable(part, ("EVALSHA", script.sha))
        return replies

    async def insist(self, commands: Iterable[Command]) -> list[Reply]:
        """Ask about keys of our own: no event is to blame for an error, so each is raised."""
        asked = list(commands)
        return self._only_good(await self.ask(asked), asked)

    async def insist_on(self, script: Script, calls: Sequence[Call]) -> list[Reply]:
        """Run a script on keys of our own."""
        asked = [call.command(script) for call in calls]
        return self._only_good(await self.run(script, calls), asked)

    def _only_good(self, replies: list[Reply], asked: Sequence[Command]) -> list[Reply]:
        for command, reply in zip(asked, replies, strict=True):
            if isinstance(reply, Exception):
                raise diagnose(reply).unavailable(self.name, _described(command))
        return replies

    def _unless_unavailable(self, error: Exception, command: Command) -> None:
        verdict = diagnose(error)
        if verdict.meaning is Meaning.UNAVAILABLE:
            raise verdict.unavailable(self.name, _described(command))


def _described(command: Command) -> str:
    """Describe it to a person who grants permissions. Keys may hold an event's data: none here."""
    script = _SCRIPTS.get(command[1]) if len(command) > 1 else None
    return str(script or command[0])


def run_id(info: bytes) -> bytes:
    """Return which process answered `INFO server`: a cursor means nothing to another one."""
    _, _, rest = info.partition(b"run_id:")
    return rest.partition(b"\r\n")[0]


def _lost(reply: Reply) -> bool:
    return isinstance(reply, Exception) and diagnose(reply).meaning is Meaning.NOSCRIPT


class Answers(Struct, Generic[Name]):
    """The reply to each name, or why there is none."""

    replies: dict[Name, Reply]
    failed: dict[Name, Verdict]


async def ask_each(
    names: Sequence[Name],
    attempt: Callable[[Sequence[Sequence[Name]]], Awaitable[list[Reply]]],
    *,
    together: int = 1,
    sleep: Sleep = asyncio.sleep,
) -> Answers[Name]:
    """Ask about many names in groups; the reply to a group is a list with one part for each name.

    An error for a group may be due to one name: its names are asked about again, one by one. An
    error that nobody knows is retried.
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
