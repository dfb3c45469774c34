"""Write dead letters to a Redis stream."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from invalidator import layout
from invalidator.deadletters.entry import fields_of
from invalidator.deadletters.redact import NOTHING, Redactor
from invalidator.deadletters.report import Reports
from invalidator.deadletters.retention import UNBOUNDED, Bounds, Retention, is_among, warn_of_home
from invalidator.errors import Unavailable
from invalidator.model import Rejection
from invalidator.redisclient import Client, Command, Reply, client, converse, ping
from invalidator.redisclient.errors import diagnose, reaching
from invalidator.runtime.urls import redact
from invalidator.settings import Settings
from invalidator.settings.caches import cache_urls


class DeadLetters:
    """Writes to the stream and keeps it within its bounds."""

    def __init__(
        self,
        client: Client,
        server: str,
        *,
        stream: str = layout.DEAD_LETTERS,
        bounds: Bounds = UNBOUNDED,
        redactor: Redactor = NOTHING,
        is_cache: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._server = server
        self._stream = stream
        self._redactor = redactor
        self._is_cache = is_cache
        self._clock = clock
        self._retention = Retention(client, bounds, stream=stream, clock=clock)
        self._reports = Reports()
        self._checked = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        url = settings.state_url.get_secret_value()
        caches = [settings.redis_url.get_secret_value(), *cache_urls(settings).values()]
        kept = settings.dead_letters
        return cls(
            client(url, settings.redis_timeout, settings.redis_tls.options()),
            redact(url),
            bounds=Bounds(kept.max_length, kept.max_age, kept.max_bytes),
            redactor=Redactor(kept.redact),
            is_cache=is_among(url, caches),
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """Store all of them, or raise Unavailable; the caller may then put them again."""
        now = int(self._clock() * 1000)
        entries = [self._entry(one, rules_hash, now) for one in rejections]
        *ids, length = await self._write(entries)
        self._reports.stored((r, i.decode()) for r, i in zip(rejections, ids, strict=True))
        with suppress(Unavailable), reaching(self._server):  # they are stored already
            await self._retention.keep(length, sum(map(_size, entries)))

    async def ping(self) -> None:
        """Raise Unavailable unless their Redis answers."""
        await ping(self._client, self._server)

    async def probe(self) -> None:
        """Do the same, and keep the stream within its bounds from time to time."""
        await self.ping()
        with reaching(self._server):
            if not self._checked:
                limit = await warn_of_home(self._client, self._server, is_cache=self._is_cache)
                self._retention.fit(limit)
                self._checked = True
            await self._retention.look()

    def _entry(self, rejection: Rejection, rules_hash: str, now: int) -> Command:
        fields = fields_of(rejection, rules_hash, now, self._redactor)
        return ("XADD", self._stream, "*", *(part for pair in fields for part in pair))

    async def _write(self, commands: Sequence[Command]) -> list[Reply]:
        """Return their ids, and how many entries the stream has then, or an error if we may not
        ask."""
        with reaching(self._server):
            *replies, length = await converse(self._client, [*commands, ("XLEN", self._stream)])
        for reply in replies:
            if isinstance(reply, Exception):
                raise diagnose(reply).unavailable(f"{self._server}, stream {self._stream}")
        return [*replies, length]


def _size(command: Command) -> int:
    return sum(len(part) for part in command if isinstance(part, str | bytes))
