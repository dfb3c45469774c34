"""Entries that were delivered before: our own before a restart, and those of dead consumers."""

import time
from collections.abc import Callable, Collection
from typing import Final

from invalidator.sources.stream.entries import Entry, Page
from invalidator.sources.stream.group import Group

BEGIN: Final = b"0-0"


class Redelivery:
    """Finds one stream's entries that were delivered and not acknowledged."""

    def __init__(
        self,
        group: Group,
        claim_after: float,
        in_work: Callable[[], Collection[bytes]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`in_work` returns the ids that were given out and are not settled."""
        self._group = group
        self._claim_after = claim_after
        self._in_work = in_work
        self._clock = clock
        self._after: bytes | None = BEGIN  # our own up to here were given; None: all of them
        self._cursor = BEGIN  # how far entries of dead consumers were claimed
        self._claim_at = 0.0

    def begin(self) -> None:
        """Read everything again that is not acknowledged, except for what is in work."""
        self._after = self._cursor = BEGIN
        self._claim_at = 0.0

    async def next(self, count: int) -> Page | None:
        """Return the next entries; None if there are none for now. Raises Unavailable, Vanished."""
        while True:
            if self._after is not None:
                page = await self._own(count)
            elif self._clock() >= self._claim_at:
                page = await self._claimed(count)
            else:
                return None
            if page.entries or page.lost:
                return page

    async def _own(self, count: int) -> Page:
        assert self._after is not None
        entries = await self._group.pending(self._after, count)
        self._after = entries[-1][0] if entries else None
        return self._page(entries, [])

    async def _claimed(self, count: int) -> Page:
        self._cursor, found, lost = await self._group.claim(self._cursor, count, self._claim_after)
        if self._cursor == BEGIN:
            self._claim_at = self._clock() + self._claim_after / 2
        return self._page(found, lost)

    def _page(self, entries: list[Entry], lost: list[bytes]) -> Page:
        """Leave out what is in work: after a broken link, too, it must not be given twice."""
        ours = self._in_work() if entries or lost else ()
        news = [entry for entry in entries if entry[0] not in ours]
        gone = [entry[0] for entry in news if entry[1] is None]
        gone += [found for found in lost if found not in ours]
        return Page([entry for entry in news if entry[1] is not None], gone)
