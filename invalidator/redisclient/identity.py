"""Which server answers: another one, or the same begun anew, may have forgotten what we deleted."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from msgspec import Struct
from redis.asyncio import Redis

from invalidator.redisclient.exchange import Command, Reply, holding, pack

ABOUT: tuple[Command, ...] = (("INFO", "server"), ("INFO", "replication"))
_FIELD = re.compile(rb"^(run_id|master_replid|master_replid2):(.*?)\r?$", re.M)
_NONE = "0" * 40  # what Redis writes in the place of an id that is not there

Ask = Callable[[Iterable[Command]], Awaitable[list[Reply]]]


class Identity(Struct, frozen=True):
    """All but `before` change with a failover, and with a restart."""

    process: str  # run_id: new with each start
    history: str  # the replication id: that of the data; new where some of it may be lost
    before: str = ""  # the replication id of which it has the data, where it took over from one

    @property
    def heir(self) -> bool:
        """Whether its data comes from another server, or from before its start."""
        return bool(self.before)


@asynccontextmanager
async def identified(server: Redis) -> AsyncIterator[tuple[Identity, Ask]]:
    """Who it is, and a way to ask on: on the same connection, so that nobody else answers.

    Raises what `converse` raises, and an error reply.
    """
    async with holding(server) as exchange:

        async def ask(commands: Iterable[Command]) -> list[Reply]:
            return good(await exchange(map(pack, commands)))

        yield _identity(await ask(ABOUT)), ask


def good(replies: list[Reply]) -> list[Reply]:
    """Raises the first that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _identity(replies: Iterable[bytes]) -> Identity:
    fields = {name: value.decode() for reply in replies for name, value in _FIELD.findall(reply)}
    before = fields.get(b"master_replid2", _NONE)
    return Identity(
        fields.get(b"run_id", ""),
        fields.get(b"master_replid", ""),
        "" if before == _NONE else before,
    )
