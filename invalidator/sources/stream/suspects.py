"""Entries that may end the process that plans them.

Redis counts how often an entry was delivered, but an outage delivers again, too, and so does every
restart. What counts here is only a process that died while it planned. Entries that come a second
time are therefore noted before they are planned, and struck out right after. Who finds a note has
found an entry that was being planned when somebody died: such entries are planned alone, and one
that ends its process again and again becomes a dead letter undecoded.
"""

from collections.abc import Sequence
from typing import Final

from invalidator.layout import PLANNING
from invalidator.model import Fault
from invalidator.redisclient import Command
from invalidator.sources.stream.server import Server

DEATHS: Final = 4  # noted ones; the first death, of a fresh entry, is not
KEPT: Final = 86_400  # seconds that a note outlives its last change

POISON: Final = Fault(
    "poison", f"it was being planned each time when {DEATHS + 1} processes ended without a word"
)


class Suspects:
    """The notes about one stream's entries, for all members of the group."""

    def __init__(self, server: Server, group: str, key: str) -> None:
        self._server = server
        self._notes = PLANNING.format(group=group, stream=key)
        self._noted: list[bytes] = []

    async def deaths(self, ids: Sequence[bytes]) -> list[int]:
        """How many processes each of these has ended, perhaps."""
        if not ids:
            return []
        (found,) = await self._server.insist([("HMGET", self._notes, *ids)])
        return [int(count or 0) for count in found]

    async def note(self, ids: Sequence[bytes]) -> None:
        """They are about to be planned."""
        await self.strike_out()
        if not ids:
            return
        self._noted = list(ids)
        counts = [("HINCRBY", self._notes, found, 1) for found in ids]
        await self._server.insist([*counts, ("EXPIRE", self._notes, KEPT)])

    async def strike_out(self) -> None:
        """They are planned, and we live."""
        if self._noted:
            await self._server.insist([("HDEL", self._notes, *self._noted)])
            self._noted = []

    def forget(self, ids: Sequence[bytes]) -> list[Command]:
        """They are dead letters now."""
        return [("HDEL", self._notes, *ids)] if ids else []
