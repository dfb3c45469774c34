"""Deleting keys where they were found: on one primary of a cluster, whose slots may move."""

from collections.abc import Sequence

from invalidator.redisclient import Command
from invalidator.redisclient.errors import Meaning, Verdict, diagnose
from invalidator.redisclient.server import Server
from invalidator.targets.redis.slots import Key

ON_THEIR_WAY = frozenset({"ask", "moved", "tryagain"})


class NodeKeys:
    """UNLINK on one primary. Keys of one command would have to share a slot, so each has its own.

    ASKING lets it delete a key that has arrived in a slot that has not. A key that left is
    reported as failed, with a verdict of ON_THEIR_WAY: it is to be looked for again.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
        """Raises Unavailable."""
        commands: list[Command] = []
        for key in keys:
            commands += ("ASKING",), ("UNLINK", key)
        existed = 0
        failed: dict[Key, Verdict] = {}
        for key, reply in zip(keys, (await self._server.send(commands))[1::2], strict=True):
            if isinstance(reply, int):
                existed += reply
            else:
                failed[key] = self._failure(reply)
        return existed, failed

    def _failure(self, reply: Exception) -> Verdict:
        verdict = diagnose(reply)
        if verdict.meaning is Meaning.UNAVAILABLE and verdict.code not in ON_THEIR_WAY:
            raise verdict.unavailable(self._server.name)
        return verdict
