"""What a stream gives a second time: ours from before a restart, and that of dead consumers."""

import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from invalidator.sources.stream.entries import Entry, Page
from invalidator.sources.stream.group import Group
from invalidator.sources.stream.suspects import DEATHS, Suspects

BEGIN: Final = b"0-0"


class Again:
    """One stream's entries that somebody has read before."""

    def __init__(
        self,
        group: Group,
        suspects: Suspects,
        claim_after: float,
        in_work: Callable[[], Collection[bytes]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._suspects = suspects
        self._claim_after = claim_after
        self._in_work = in_work  # the ids that are given out and not settled
        self._clock = clock
        self._alone: deque[Entry] = deque()  # to be planned one by one
        self._after: bytes | None = BEGIN  # our own up to here were given; None: all of them
        self._cursor = BEGIN  # how far we have looked for what dead consumers left
        self._look_at = 0.0  # when we look again

    def begin(self) -> None:
        """All that is not acknowledged comes again, but for what is being worked on."""
        self._alone.clear()
        self._after = self._cursor = BEGIN
        self._look_at = 0.0

    async def next(self, count: int) -> Page | None:
        """The next of them; None: there are none for now. Raises Unavailable or Vanished."""
        while True:
            if self._alone:
                return await self._one()
            if self._after is not None:
                page = await self._own(count)
            elif self._clock() >= self._look_at:
                page = await self._others(count)
            else:
                return None
            if page.entries or page.refused or page.lost:
                return page

    async def _own(self, count: int) -> Page:
        assert self._after is not None
        entries = await self._group.pending(self._after, count)
        self._after = entries[-1][0] if entries else None
        return await self._sift(self._not_in_work(entries), [])

    async def _others(self, count: int) -> Page:
        self._cursor, found, lost = await self._group.claim(self._cursor, count, self._claim_after)
        if self._cursor == BEGIN:
            self._look_at = self._clock() + self._claim_after / 2
        return await self._sift(self._not_in_work(found), lost)

    def _not_in_work(self, entries: list[Entry]) -> list[Entry]:
        """A link that broke, or a way around that took long, is no reason to give them twice."""
        ours = self._in_work() if entries else ()
        return [entry for entry in entries if entry[0] not in ours]

    async def _sift(self, entries: list[Entry], lost: list[bytes]) -> Page:
        """Note all that is going to be planned; put aside what is to be planned alone."""
        gone = [entry[0] for entry in entries if entry[1] is None] + lost
        if gone:
            ours = self._in_work()  # these we have read: nothing is lost by it
            gone = [found for found in gone if found not in ours]
        there = [entry for entry in entries if entry[1] is not None]
        deaths = await self._suspects.deaths([entry[0] for entry in there])
        page = Page([], [], gone)
        for entry, count in zip(there, deaths, strict=True):
            if count >= DEATHS:
                page.refused.append(entry)
            elif count:
                self._alone.append(entry)
            else:
                page.entries.append(entry)
        await self._suspects.note([entry[0] for entry in page.entries])
        return page

    async def _one(self) -> Page:
        entry = self._alone[0]
        await self._suspects.note([entry[0]])
        return Page([self._alone.popleft()])
