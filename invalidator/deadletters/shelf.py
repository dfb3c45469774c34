"""The stream of dead letters, for those who work with it, whether a daemon runs or not."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import fields

from invalidator import layout
from invalidator.deadletters.entry import Letter, letter_of
from invalidator.redisclient import Client, Command, Reply, client, converse
from invalidator.redisclient.errors import diagnose, reaching
from invalidator.runtime.health import Part
from invalidator.runtime.retry import until_available
from invalidator.runtime.urls import redact
from invalidator.settings import Settings

PAGE: Final = 100  # entries in one reply: each holds its whole event


class Filter(Struct, frozen=True):
    """Conditions that must all hold; an empty one always does."""

    type: str = ""
    rule: str = ""
    error: str = ""
    source: str = ""  # the kind of source, or its topic, stream or channel

    def fits(self, letter: Letter) -> bool:
        return all(
            not (wanted := getattr(self, each.name)) or wanted in _VALUES[each.name](letter)
            for each in fields(self)
        )


_VALUES: dict[str, Callable[[Letter], set[str | None]]] = {
    "type": lambda letter: {letter.type},
    "rule": lambda letter: {fault.rule for fault in letter.faults},
    "error": lambda letter: {fault.error for fault in letter.faults},
    "source": lambda letter: {letter.record.source, letter.record.origin},
}


class Choice(Struct, frozen=True):
    """Entries by their ids; or all that fit the filter and were written since then."""

    ids: Sequence[str] = ()
    filter: Filter = Filter()
    since_ms: int = 0


class DeadLetterStream:
    """Reads entries, and replaces and removes them. Raises Unavailable, unless it waits."""

    def __init__(self, client: Client, server: str, *, waits: bool = False) -> None:
        self._client = client
        self.server = server
        self._part = Part("dead letters") if waits else None

    @classmethod
    def of(cls, settings: Settings, *, waits: bool = False) -> Self:
        url = settings.state_url.get_secret_value()
        opened = client(url, settings.redis_timeout, settings.redis_tls.options())
        return cls(opened, redact(url), waits=waits)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def count(self) -> int:
        (length,) = await self._ask([("XLEN", layout.DEAD_LETTERS)])
        return int(length)

    async def last(self) -> str:
        """Return the id of the newest entry; empty if there is none."""
        (found,) = await self._ask([("XREVRANGE", layout.DEAD_LETTERS, "+", "-", "COUNT", 1)])
        return found[0][0].decode() if found else ""

    async def get(self, ids: Sequence[str]) -> dict[str, Letter]:
        """Return those of these entries that exist, by id."""
        commands: list[Command] = [("XRANGE", layout.DEAD_LETTERS, each, each) for each in ids]
        replies = await self._ask(commands)
        return {letter.id: letter for reply in replies for letter in _letters(reply)}

    async def chosen(
        self, choice: Choice, *, newest_first: bool = False
    ) -> AsyncGenerator[Letter, None]:
        """Yield the chosen entries that exist now; what is written meanwhile is not followed."""
        if choice.ids:
            for letter in (await self.get(choice.ids)).values():
                yield letter
            return
        first, last = f"{choice.since_ms}-0", await self.last()
        while last:
            found = await self._range(first, last, newest_first=newest_first)
            for letter in filter(choice.filter.fits, found):
                yield letter
            if len(found) < PAGE:
                return
            if newest_first:
                last = f"({found[-1].id}"
            else:
                first = f"({found[-1].id}"

    async def remove(self, ids: Sequence[str]) -> int:
        """Remove entries and return how many still existed."""
        if not ids:
            return 0
        (removed,) = await self._ask([("XDEL", layout.DEAD_LETTERS, *ids)])
        return int(removed)

    async def replace(self, entries: Mapping[str, Iterable[tuple[str, str | bytes]]]) -> None:
        """Add each entry again with these fields, then remove the old one.

        A crash in between leaves both, and never neither.
        """
        adds: list[Command] = [
            ("XADD", layout.DEAD_LETTERS, "*", *(part for pair in pairs for part in pair))
            for pairs in entries.values()
        ]
        await self._ask(adds)
        await self.remove([*entries])

    async def _range(self, first: str, last: str, *, newest_first: bool) -> list[Letter]:
        span = ("XREVRANGE", layout.DEAD_LETTERS, last, first)
        if not newest_first:
            span = ("XRANGE", layout.DEAD_LETTERS, first, last)
        (found,) = await self._ask([(*span, "COUNT", PAGE)])
        return _letters(found)

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


def _letters(entries: Reply) -> list[Letter]:
    return [
        letter_of(entry, dict(zip(flat[::2], flat[1::2], strict=True))) for entry, flat in entries
    ]
