"""Replicas that must have a write before it counts: what a failover then forgets is less."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.redisclient import Client, Command, Reply, converse
from invalidator.redisclient.errors import diagnose

WRITES: Final = frozenset({"UNLINK", "EVALSHA"})
SHARE: Final = 0.8  # of the time that an answer may take


class Replicas(Struct, frozen=True):
    """How many, and for how long they are waited for."""

    count: int = 0
    seconds: float = 0.0

    async def send(self, client: Client, server: str, commands: Sequence[Command]) -> list[Reply]:
        """Send these; writes count when enough replicas have them. Raises Unavailable.

        WAIT is for what its own connection wrote, so it goes with the writes.
        """
        if not (self.count and any(command[0] in WRITES for command in commands)):
            return await converse(client, commands)
        wait: Command = ("WAIT", self.count, int(self.seconds * SHARE * 1000))
        *replies, reached = await converse(client, [*commands, wait])
        if isinstance(reached, Exception):
            raise diagnose(reached).unavailable(server, "WAIT")
        if reached < self.count:
            raise Unavailable(
                server, f"{reached} of INVALIDATOR_WAIT_REPLICAS={self.count} have what was written"
            )
        return replies


NONE: Final = Replicas()
