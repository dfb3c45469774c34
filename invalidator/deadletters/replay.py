"""Dead letters as a source of events, to be planned by the rules now in force and applied.

An entry is removed only once everything that its event names was applied. One that is rejected
again is added anew, with the new reason and the number of attempts.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from invalidator.deadletters.entry import Letter, fields_of
from invalidator.deadletters.redact import NOTHING, Redactor
from invalidator.deadletters.shelf import DeadLetterStream
from invalidator.deadletters.stream import DeadLetters
from invalidator.model import Batch, Record, Rejection, Slice
from invalidator.sources.source import Groupless

AT_ONCE: Final = 500  # entries in a batch: few, so that an interrupted replay ends soon


class DeadLetterSource(Groupless):
    """A finite source."""

    name = "dead-letters"

    def __init__(
        self, stream: DeadLetterStream, letters: AsyncIterator[Letter], total: int | None = None
    ) -> None:
        self._stream = stream
        self._letters = letters
        self.total = total
        self.done = False
        self.removed = 0
        self._unsettled: deque[list[Letter]] = deque()  # batch by batch
        self.rejected: set[str] = set()  # entries that were rejected again

    async def open(self) -> None:
        """Do nothing: reads need no preparation."""

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
        """Remove the entries of the batch that were applied."""
        letters = self._unsettled.popleft()
        applied = [letter.id for letter in letters if letter.id not in self.rejected]
        self.removed += await self._stream.remove(applied)

    async def close(self) -> None:
        """Do nothing: the stream's owner closes it."""

    def unsettled(self, record: Record) -> list[Letter]:
        """Return the unsettled entries with this record."""
        return [one for some in self._unsettled for one in some if one.record == record]


class ReplayLetters:
    """Takes what a replay rejects: the entries of its events are replaced."""

    def __init__(
        self,
        source: DeadLetterSource,
        stream: DeadLetterStream,
        others: DeadLetters,
        redactor: Redactor = NOTHING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`others` takes what belongs to no entry: a key that a sweep could not delete."""
        self._source = source
        self._stream = stream
        self._others = others
        self._redactor = redactor
        self._clock = clock

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        now = int(self._clock() * 1000)
        entries, others = {}, []
        for rejection in rejections:
            letters = self._source.unsettled(rejection.record)
            if not letters:
                others.append(rejection)
            for letter in letters:
                if letter.id not in self._source.rejected:
                    entries[letter.id] = [
                        *fields_of(rejection, rules_hash, now, self._redactor, replayed=letter)
                    ]
        if entries:
            await self._stream.replace(entries)
            self._source.rejected.update(entries)
        if others:
            await self._others.put(others, rules_hash)


def _slices(letters: Sequence[Letter]) -> list[Slice]:
    """Group the records by origin, since rules may be limited to some."""
    found: dict[str, list[Record]] = {}
    for letter in letters:
        found.setdefault(letter.record.origin, []).append(letter.record)
    return [_slice(origin, records) for origin, records in found.items()]


def _slice(origin: str, records: Sequence[Record]) -> Slice:
    headers = [record.headers for record in records] if any(r.headers for r in records) else ()
    return Slice(origin, [r.raw for r in records], records.__getitem__, headers)
