"""Which dead letters are meant."""

from collections.abc import AsyncGenerator, Callable, Sequence

from msgspec import Struct
from msgspec.structs import fields

from invalidator.deadletters.entry import Letter
from invalidator.deadletters.shelf import Shelf


class Filter(Struct, frozen=True):
    """Each that is given must fit; empty: whatever it is."""

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
    """Entries by their ids; or all that fit and were written since then."""

    ids: Sequence[str] = ()
    filter: Filter = Filter()
    since_ms: int = 0

    async def of(self, shelf: Shelf, *, newest_first: bool = False) -> AsyncGenerator[Letter, None]:
        """What is there now: it does not follow what is written meanwhile."""
        if self.ids:
            for letter in (await shelf.get(self.ids)).values():
                yield letter
            return
        until = await shelf.last()
        if not until:
            return
        letters = shelf.letters(newest_first=newest_first, since_ms=self.since_ms, until=until)
        async for letter in letters:
            if self.filter.fits(letter):
                yield letter
