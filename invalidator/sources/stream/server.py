"""The Redis that holds the streams: it replies, or it is Unavailable."""

from collections.abc import Iterable

from invalidator.errors import Unavailable
from invalidator.redisclient import Client, Cluster, Command, Reply
from invalidator.redisclient.errors import diagnose
from invalidator.redisclient.server import Server

GONE = ("NOGROUP", "UNBLOCKED")  # how Redis names a stream or group that vanished


class Vanished(Exception):  # noqa: N818 - not an error, but news
    """The stream or the group no longer exists."""


class StreamServer(Server):
    """A server that is also asked about groups."""

    def __init__(self, client: Client, name: str) -> None:
        super().__init__(client, name)
        self.spread = isinstance(client, Cluster)  # no command can wait for several streams

    async def ask_group(self, commands: Iterable[Command]) -> list[Reply]:
        """Return good replies only. Raises Vanished if the stream or group does not exist."""
        replies = await self.send(list(commands))
        for reply in replies:
            if isinstance(reply, Exception):
                if str(reply).startswith(GONE) or is_no_key(reply):
                    raise Vanished(str(reply))
                raise self.rejected(reply)
        return replies

    def rejected(self, reply: Exception, about: str = "") -> Unavailable:
        """Return the error to raise for a reply that makes reading impossible."""
        found = diagnose(reply)
        said = f"{about}: {found.message}" if about else found.message
        return Unavailable(self.name, said, found.code)


def is_no_key(reply: Reply) -> bool:
    """Return whether Redis says that the key does not exist."""
    return isinstance(reply, Exception) and "no such key" in str(reply)
