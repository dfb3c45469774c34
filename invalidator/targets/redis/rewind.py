"""What the caches remember: who answers, since when it is the same, and what it may have forgotten.

A Redis that failed over, or was restarted from a snapshot, has keys again that we had deleted and
acknowledged. It shows in who it is; notes among its own data say how far it went back. Sources read
again what they had settled since.
"""

import asyncio
import hashlib
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from invalidator.errors import Unavailable
from invalidator.model import Application, Cause, Names, Outcome
from invalidator.rules import Cache
from invalidator.targets.redis.failover import Identities, Moments
from invalidator.targets.target import Home, Target

log = structlog.get_logger("invalidator")

LOOK_EVERY: Final = 1.0  # seconds
MARGIN: Final = 60.0  # seconds that are read again besides: clocks of members differ


def change(before: Identities, now: Identities) -> str:
    """Why something may be forgotten, in words; empty where nothing can be.

    A primary that came with slots of others has what these had; one that left gave it away.
    """
    for address, was in before.items():
        found = now.get(address)
        if found and found.process != was.process:
            return f"{address} is another process now: a restart or a failover".strip()
        if found and found.history != was.history:
            return f"{address} has other data now: it followed another server meanwhile".strip()
    for address in now.keys() - before.keys():
        if now[address].heir:
            return f"{address} took over"
    return ""


def digest(hosts: Sequence[Identities]) -> str:
    """Of who all of them are: the same as long as none forgot anything."""
    known = [
        (number, address, who.process, who.history)
        for number, found in enumerate(hosts)
        for address, who in sorted(found.items())
    ]
    return hashlib.blake2b(repr(known).encode(), digest_size=8).hexdigest()


class Watch:
    """The eras of one process. It notes under a token of its own, a new one for each era."""

    why = "it changed while nobody was there to see it"

    def __init__(
        self,
        hosts: Sequence[Moments],
        most: float,
        *,
        token: Callable[[], str] = lambda: secrets.token_hex(6),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.most = most
        self._hosts = hosts
        self._new_token = token
        self._token = token()
        self._sleep = sleep
        self._known: Sequence[Identities] | None = None
        self._digest = ""
        self._alike: set[str] = set()  # eras that ended without anything being forgotten
        self._looking = asyncio.Lock()

    @property
    def current(self) -> str:
        return f"{self._digest}.{self._token}" if self._digest else ""

    async def since(self, era: str) -> float:
        known, _, token = era.partition(".")
        if not era or known == self._digest or era in self._alike:
            return math.inf
        moments = await asyncio.gather(*(host.until(token) for host in self._hosts))
        return min(moments) - MARGIN

    async def known(self) -> None:
        """Before anything is deleted, somebody has to know from whom. Raises Unavailable."""
        if not self._digest:
            await self.look()

    async def look(self) -> None:
        """Raises Unavailable where one of them cannot be asked; then nothing is known to change."""
        async with self._looking:
            known = self._known or [{} for _ in self._hosts]
            looks = (
                host.look(self._token, who) for host, who in zip(self._hosts, known, strict=True)
            )
            found = await asyncio.gather(*looks, return_exceptions=True)
            now: list[Identities] = []
            for each in found:
                if isinstance(each, BaseException):
                    raise each
                now.append(each)
            self._compare(now)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            before = self.current
            try:
                await self.look()
            except Unavailable as error:  # those who delete there say so
                log.debug("not-looked", reason=str(error))
            if self.current == before:
                await self._sleep(LOOK_EVERY)

    def _compare(self, now: Sequence[Identities]) -> None:
        before, self._known = self._known, now
        was, self._digest = self.current, digest(now)
        if before is None or self.current == was:
            return
        changes = [change(then, who) for then, who in zip(before, now, strict=True)]
        if why := "; ".join(
            f"{host.name} {said}" for host, said in zip(self._hosts, changes, strict=True) if said
        ):
            self.why = why
            self._token = self._new_token()
            self._alike.clear()
            log.warning("cache-may-have-forgotten", why=why)
        else:
            self._alike.add(was)


class Known:
    """Caches to which nothing is applied before it is known who they are."""

    def __init__(self, target: Target, watch: Watch) -> None:
        self._target = target
        self._watch = watch

    def application(
        self, names: Mapping[str, Names], caches: Mapping[str, Cache], cause: Cause
    ) -> Application:
        application = self._target.application(names, caches, cause)
        return application if self._watch.current else AfterALook(application, self._watch)

    def home(self, cache: str, caches: Mapping[str, Cache]) -> Home:
        return self._target.home(cache, caches)


class AfterALook:
    """An application that first asks who the caches are."""

    def __init__(self, application: Application, watch: Watch) -> None:
        self._application = application
        self._watch = watch

    @property
    def left(self) -> int:
        return self._application.left

    async def apply_names(self) -> Outcome:
        await self._watch.known()
        return await self._application.apply_names()
