"""The dead letters in a stream, for those who work with them; whether a daemon runs or not."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final, Self

from invalidator import layout
from invalidator.deadletters.entry import Letter, letter_of
from invalidator.redisclient import Client, Command, Reply, client, converse
from invalidator.redisclient.errors import diagnose, reaching
from invalidator.runtime.health import Part
from invalidator.runtime.retry import until_available
from invalidator.runtime.urls import redact
from invalidator.settings import Settings

PAGE: Final = 100  # entries in one answer: each holds its whole event


class Shelf:
    """Reads, and removes what was dealt with. Everything raises Unavailable, unless it waits."""

    def __init__(
        self,
        client: Client,
        server: str,
        *,
        max_age: float = 0,
        page: int = PAGE,
        waits: bool = False,
    ) -> None:
        self._client = client
        self.server = server
        self._keep = int(max_age)
        self._page = page
        self._part = Part("dead letters") if waits else None

    @classmethod
    def of(cls, settings: Settings, *, waits: bool = False) -> Self:
        url = settings.state_url.get_secret_value()
        opened = client(url, settings.redis_timeout, settings.redis_tls.options())
        age = settings.dead_letters.max_age
        return cls(opened, redact(url), max_age=age, waits=waits)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def count(self) -> int:
        (length,) = await self._ask([("XLEN", layout.DEAD_LETTERS)])
        return int(length)

    async def last(self) -> str:
        """The id of the newest entry; empty where there is none."""
        (found,) = await self._ask([("XREVRANGE", layout.DEAD_LETTERS, "+", "-", "COUNT", 1)])
        return found[0][0].decode() if found else ""

    async def letters(
        self, *, newest_first: bool = False, since_ms: int = 0, until: str = "+"
    ) -> AsyncGenerator[Letter, None]:
        """All that were written since then, up to the entry `until`; page by page."""
        first, last = f"{since_ms}-0", until
        while True:
            found = await self._range(first, last, newest_first=newest_first)
            for letter in found:
                yield letter
            if len(found) < self._page:
                return
            if newest_first:
                last = f"({found[-1].id}"
            else:
                first = f"({found[-1].id}"

    async def get(self, ids: Sequence[str]) -> dict[str, Letter]:
        """Those that are there, by id."""
        commands: list[Command] = [("XRANGE", layout.DEAD_LETTERS, each, each) for each in ids]
        replies = await self._ask(commands)
        letters = await self._read([entry for reply in replies for entry in reply])
        return {letter.id: letter for letter in letters}

    async def remove(self, ids: Sequence[str]) -> int:
        """They were dealt with; how many were still there."""
        if not ids:
            return 0
        removed, _ = await self._ask(
            [("XDEL", layout.DEAD_LETTERS, *ids), ("HDEL", layout.DEAD_ATTEMPTS, *ids)]
        )
        return int(removed)

    async def note(self, attempts: Mapping[str, bytes]) -> None:
        """What replays of entries found. It is kept as long as the entries may be."""
        pairs = [part for pair in attempts.items() for part in pair]
        keep: Command = ("PERSIST", layout.DEAD_ATTEMPTS)
        if self._keep:
            keep = ("EXPIRE", layout.DEAD_ATTEMPTS, self._keep + 1)
        await self._ask([("HSET", layout.DEAD_ATTEMPTS, *pairs), keep])

    async def _range(self, first: str, last: str, *, newest_first: bool) -> list[Letter]:
        span = ("XREVRANGE", layout.DEAD_LETTERS, last, first)
        if not newest_first:
            span = ("XRANGE", layout.DEAD_LETTERS, first, last)
        (found,) = await self._ask([(*span, "COUNT", self._page)])
        return await self._read(found)

    async def _read(self, entries: Sequence[Reply]) -> list[Letter]:
        letters = [
            letter_of(entry, dict(zip(flat[::2], flat[1::2], strict=True)))
            for entry, flat in entries
        ]
        if not letters:
            return []
        asked = ("HMGET", layout.DEAD_ATTEMPTS, *(letter.id for letter in letters))
        (attempts,) = await self._ask([asked])
        return [
            letter.after(attempt) if attempt else letter
            for letter, attempt in zip(letters, attempts, strict=True)
        ]

    async def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        if self._part is None:
            return await self._try(commands)
        return await until_available(lambda: self._try(commands), self._part)

    async def _try(self, commands: Sequence[Command]) -> list[Reply]:
        with reaching(self.server):
            replies = await converse(self._client, commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise diagnose(reply).unavailable(f"{self.server}, {layout.DEAD_LETTERS}")
        return replies
