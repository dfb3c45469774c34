"""Detects that a Redis may have lost writes: after a failover, or a restart from a snapshot.

Such a server has keys again that were deleted before. Redis does not report this, but it shows in
the server's identity: its process (`run_id`) or the history of its data (`master_replid`) differs.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from invalidator.errors import Unavailable
from invalidator.redisclient import Client, Command, converse, nodes
from invalidator.redisclient.errors import Meaning, diagnose, reaching
from invalidator.runtime.tasks import all_of

log = structlog.get_logger("invalidator")

ASK_EVERY: Final = 1.0  # seconds
QUESTIONS: Final[Sequence[Command]] = (("INFO", "server"), ("INFO", "replication"))
FORBIDDEN: Final = ("noperm", "refused")
_FIELD = re.compile(rb"^(run_id|master_replid):(.*?)\r?$", re.M)


class Identity(Struct, frozen=True):
    """The identity of one server. Both ids change with a failover and with a restart."""

    process: str  # run_id: new with each start
    history: str  # master_replid: new when some of the data may be lost


Identities = Mapping[str, Identity]  # by address; without the servers that may not be asked


class Servers:
    """The servers of one Redis: on a cluster, all primaries."""

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self._client = client
        self._warned = ""

    async def identify(self) -> Identities:
        """Ask all of them for their identities. Raises Unavailable if one does not answer."""
        with reaching(self.name):
            found = {
                address: await self._ask(server)
                for address, server in (await nodes(self._client)).items()
            }
        return {address: identity for address, identity in found.items() if identity}

    async def _ask(self, server: Redis) -> Identity | None:
        fields: dict[bytes, str] = {}
        for reply in await converse(server, QUESTIONS):
            if isinstance(reply, ResponseError):
                self._check_forbidden(reply)
                return None
            fields |= {name: value.decode() for name, value in _FIELD.findall(reply)}
        return Identity(fields.get(b"run_id", ""), fields.get(b"master_replid", ""))

    def _check_forbidden(self, error: ResponseError) -> None:
        """Raise Unavailable for an error that may pass; warn once of one that will not."""
        verdict = diagnose(error)
        if verdict.meaning is Meaning.UNAVAILABLE and verdict.code not in FORBIDDEN:
            raise verdict.unavailable(self.name)
        if self._warned != verdict.message:
            self._warned = verdict.message
            log.warning("failover-detection-off", server=self.name, reason=verdict.message)


class IdentityWatch:
    """Asks all caches' servers for their identities; sources compare the digest."""

    def __init__(
        self,
        servers: Sequence[Servers],
        window: float,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`window` is how many seconds of writes a server may lose."""
        self.window = window
        self.reason = "it changed while no daemon was running"
        self.identity = ""  # also while one of them does not answer: it may be failing over
        self._servers = servers
        self._sleep = sleep
        self._known: Sequence[Identities] | None = None
        self._asking = asyncio.Lock()

    async def known(self) -> None:
        """Return once all servers were asked: nothing may be applied before. Raises Unavailable."""
        if self._known is None:
            await self.ask()

    async def ask(self) -> None:
        """Ask all servers. Raises Unavailable if one does not answer."""
        async with self._asking:
            try:
                self._compare(await all_of(server.identify() for server in self._servers))
            except Exception:
                self.identity = ""
                raise

    async def run(self) -> None:
        """Ask again and again until cancelled."""
        while True:
            try:
                await self.ask()
            except Unavailable as error:  # readiness names it
                log.debug("identity-unknown", reason=str(error))
            await self._sleep(ASK_EVERY)

    def _compare(self, identities: Sequence[Identities]) -> None:
        before, self._known = self._known or identities, identities
        changes = [
            f"{server.name} {change}"
            for server, then, now in zip(self._servers, before, identities, strict=True)
            if (change := describe_change(then, now))
        ]
        if changes:
            self.reason = "; ".join(changes)
            log.warning("failover-detected", why=self.reason)
        self.identity = digest(identities)


def describe_change(before: Identities, now: Identities) -> str:
    """Return why writes may be lost, for a person; empty if nothing changed."""
    for address in sorted(before.keys() | now.keys()):
        was, found = before.get(address), now.get(address)
        if was == found:
            continue
        if found is None:
            return f"{address} is no longer a primary".strip()
        if was is None:
            return f"{address} took over".strip()
        if was.process != found.process:
            return f"{address} is another process now: a restart or a failover".strip()
        return f"{address} has other data now: it followed another server meanwhile".strip()
    return ""


def digest(identities: Sequence[Identities]) -> str:
    """Return a digest of all servers' identities, in any order within one Redis."""
    known = [
        (number, address, identity.process, identity.history)
        for number, found in enumerate(identities)
        for address, identity in sorted(found.items())
    ]
    return hashlib.blake2b(repr(known).encode(), digest_size=8).hexdigest()
