"""Dead letters as a source of events: to be planned by the rules now in force, and applied.

An entry goes only once all that its event names was applied. One that is rejected again stays, with
what was found and the number of attempts.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from invalidator.deadletters.entry import Letter, attempt_of
from invalidator.deadletters.redact import NOTHING, Redactor
from invalidator.deadletters.shelf import Shelf
from invalidator.deadletters.stream import DeadLetters
from invalidator.model import Batch, Record, Rejection, Slice
from invalidator.sources.source import Lag, WithoutBrake

AT_ONCE: Final = 500  # entries in a batch: what is interrupted is soon done


class LettersAgain(WithoutBrake):
    """A finite source."""

    name = "dead-letters"
    forgets = False  # an entry that is not settled stays

    def __init__(
        self, shelf: Shelf, letters: AsyncIterator[Letter], total: int | None = None
    ) -> None:
        self._shelf = shelf
        self._letters = letters
        self.total = total
        self.done = False
        self.removed = 0
        self._unsettled: deque[list[Letter]] = deque()  # batch by batch
        self._failed: set[str] = set()

    async def open(self) -> None:
        """Each page is asked for by itself."""

    async def read(self, limit: int) -> Batch | None:
        letters: list[Letter] = []
        while len(letters) < min(limit, AT_ONCE):
            letter = await anext(self._letters, None)
            if letter is None:
                self.done = True
                break
            letters.append(letter)
        if not letters:
            return None
        self._unsettled.append(letters)
        size = sum(len(letter.record.raw or b"") for letter in letters)
        return Batch(self.name, list(_slices(letters)), len(letters), size, letters)

    async def settle(self, batch: Batch) -> None:
        """What was not rejected again was applied."""
        letters = self._unsettled.popleft()
        applied = [letter.id for letter in letters if letter.id not in self._failed]
        self.removed += await self._shelf.remove(applied)

    def lag(self) -> Lag:
        return {}  # `total` says more

    async def keep_alive(self) -> None:
        """Nobody forgets them."""

    async def stop(self) -> None:
        """Nothing comes in by itself."""

    async def close(self) -> None:
        """The shelf is its owner's."""

    def found_again(self, record: Record) -> list[Letter]:
        """The entries in work that hold it."""
        return [one for some in self._unsettled for one in some if one.record == record]

    def keep(self, letters: Sequence[Letter]) -> None:
        self._failed.update(letter.id for letter in letters)


class AttemptLetters:
    """Where the pipeline of a replay puts what was rejected: beside its entry."""

    def __init__(
        self,
        source: LettersAgain,
        shelf: Shelf,
        others: DeadLetters,
        redactor: Redactor = NOTHING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`others` takes what belongs to no entry: a key that a sweep could not delete."""
        self._source = source
        self._shelf = shelf
        self._others = others
        self._redactor = redactor
        self._clock = clock

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        now = int(self._clock() * 1000)
        attempts, others = {}, []
        for rejection in rejections:
            letters = self._source.found_again(rejection.record)
            if not letters:
                others.append(rejection)
            masked, _ = self._redactor.masked(rejection)
            for letter in letters:
                attempts[letter.id] = attempt_of(letter, masked, rules_hash, now)
            self._source.keep(letters)
        if attempts:
            await self._shelf.note(attempts)
        if others:
            await self._others.put(others, rules_hash)


def _slices(letters: Sequence[Letter]) -> list[Slice]:
    """By origin: rules may be meant for some only."""
    found: dict[str, list[Record]] = {}
    for letter in letters:
        found.setdefault(letter.record.origin, []).append(letter.record)
    return [_slice(origin, records) for origin, records in found.items()]


def _slice(origin: str, records: Sequence[Record]) -> Slice:
    headers = [record.headers for record in records] if any(r.headers for r in records) else ()
    return Slice(origin, [r.raw for r in records], records.__getitem__, headers)
