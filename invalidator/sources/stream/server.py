"""The Redis where streams live: it answers, or it is Unavailable."""

from collections.abc import Iterable

from invalidator.errors import Unavailable
from invalidator.redisclient import Client, Cluster, Command, Reply, converse
from invalidator.redisclient.errors import Meaning, diagnose, reaching

GONE = ("NOGROUP", "UNBLOCKED")  # what a stream or group that vanished is called


class Vanished(Exception):  # noqa: N818 - not an error, but news
    """The stream or the group is no longer there."""


class Server:
    """Three ways to ask, by what an error reply means."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name  # what a person calls it
        self.spread = isinstance(client, Cluster)  # nobody can wait for several streams at once

    async def ask(self, commands: Iterable[Command]) -> list[Reply]:
        """Errors of this key are values. Raises Unavailable."""
        replies = await self._send(list(commands))
        for reply in replies:
            if isinstance(reply, Exception) and _blames_the_server(reply):
                raise self.refused(reply)
        return replies

    async def ask_group(self, commands: Iterable[Command]) -> list[Reply]:
        """Good replies only. Raises Vanished where there is no such stream or group."""
        replies = await self._send(list(commands))
        for reply in replies:
            if isinstance(reply, Exception):
                if str(reply).startswith(GONE) or is_no_key(reply):
                    raise Vanished(str(reply))
                raise self.refused(reply)
        return replies

    async def insist(self, commands: Iterable[Command]) -> list[Reply]:
        """Good replies only. Raises Unavailable."""
        replies = await self._send(list(commands))
        for reply in replies:
            if isinstance(reply, Exception):
                raise self.refused(reply)
        return replies

    async def _send(self, commands: list[Command]) -> list[Reply]:
        if not commands:
            return []
        with reaching(self.name):
            return await converse(self.client, commands)

    def refused(self, reply: Exception, about: str = "") -> Unavailable:
        found = diagnose(reply)
        said = f"{about}: {found.message}" if about else found.message
        return Unavailable(self.name, said, found.code)


def is_no_key(reply: Reply) -> bool:
    return isinstance(reply, Exception) and "no such key" in str(reply)


def _blames_the_server(reply: Exception) -> bool:
    return diagnose(reply).meaning is Meaning.UNAVAILABLE
