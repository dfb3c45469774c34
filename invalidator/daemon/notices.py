"""Hear what people tell all daemons that share a state Redis: a pause, and purges for the logs.

A daemon looks every second, and before its first read, so that those that start later know as well.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Self

import structlog

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.pipeline.pause import Pause, Paused
from invalidator.redisclient import Client, Command, Reply, client, converse
from invalidator.redisclient.errors import diagnose, reaching
from invalidator.runtime.urls import redact
from invalidator.settings import Settings

log = structlog.get_logger("invalidator")

LOOK_EVERY: Final = 1.0  # seconds
FORBIDDEN_EVERY: Final = 30.0  # seconds between two tries where we may not look
FIRST_WITHIN: Final = 2.0  # seconds that a start waits for its first look
KEPT: Final = 1000  # purges, approximately
AT_ONCE: Final = 100  # purges in one reply


class Notices:
    """The notices in one state Redis. Every method raises Unavailable."""

    def __init__(self, client: Client, server: str) -> None:
        self._client = client
        self.server = server

    @classmethod
    def of(cls, settings: Settings) -> Self:
        url = settings.state_url.get_secret_value()
        opened = client(url, settings.redis_timeout, settings.redis_tls.options())
        return cls(opened, redact(url))

    async def aclose(self) -> None:
        await self._client.aclose()

    async def pause(self, why: str, who: str) -> None:
        """Pause all daemons."""
        told = json.dumps({"since": time.time(), "why": why, "who": who})
        await self.ask([("SET", layout.PAUSED, told)])

    async def resume(self) -> bool:
        """End the pause of all daemons; return whether there was one."""
        (removed,) = await self.ask([("DEL", layout.PAUSED)])
        return bool(removed)

    async def purged(self, fields: Mapping[str, str | int]) -> None:
        """Have all daemons log a purge."""
        told = json.dumps(fields)
        trim = ("MAXLEN", "~", KEPT)
        await self.ask([("XADD", layout.PURGES, *trim, "*", "purge", told)])

    async def ask(self, commands: list[Command]) -> list[Reply]:
        with reaching(self.server):
            replies = await converse(self._client, commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise diagnose(reply).unavailable(self.server)
        return replies


class NoticeReader:
    """A daemon that watches the notices."""

    def __init__(self, notices: Notices, pause: Pause) -> None:
        self._notices = notices
        self._pause = pause
        self._after = f"{int(time.time() * 1000)}-0"  # the last purge that was logged
        self._forbidden = False

    async def first(self) -> None:
        """Look once, if that is quick: a server that is down must not stop the start."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_WITHIN):
                await self._look()

    async def run(self) -> None:
        """Look until cancelled. While the server is down, a pause stays as it is."""
        while True:
            await asyncio.sleep(FORBIDDEN_EVERY if self._forbidden else LOOK_EVERY)
            await self._look()

    async def _look(self) -> None:
        after = ("XRANGE", layout.PURGES, f"({self._after}", "+", "COUNT", AT_ONCE)
        try:
            paused, purges = await self._notices.ask([("GET", layout.PAUSED), after])
        except Unavailable as error:
            self._note(error)
            return
        self._forbidden = False
        self._pause.follow(_paused(paused))
        for entry, fields in purges:
            self._after = entry.decode()
            log.warning("purge-announced", **_parsed(fields[1]))

    def _note(self, error: Unavailable) -> None:
        """Say once that nobody can pause all daemons; a server that is down is said elsewhere."""
        forbidden = error.code == "noperm"
        if forbidden and not self._forbidden:
            log.warning("notices-not-read", reason=str(error))
        self._forbidden = forbidden


def _paused(raw: bytes | None) -> Paused | None:
    if raw is None:
        return None
    told = _parsed(raw)
    return Paused(float(told.get("since", 0)), str(told.get("why", "")), str(told.get("who", "")))


def _parsed(raw: bytes) -> dict[str, Any]:
    """Return an object that somebody wrote; what is none still counts as a notice."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
