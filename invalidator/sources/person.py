"""Events that a person sends through the admin port, one at a time.

Who sent one hears what became of it. It is held in memory: when the process ends before it is
applied, the caller has no answer, and has to send it again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, field

from invalidator.model import Batch, Fault, Record, Rejection, Slice
from invalidator.rules import Explanation
from invalidator.sources.source import Lag

MOMENT: Final = 0.5  # seconds that an empty read waits
MOST_WAITING: Final = 16


class Busy(Exception):  # noqa: N818 - not an error, but news
    """Others wait already."""


class Sent(Struct):
    """An event on its way."""

    record: Record
    told: Explanation | None = None  # what the rules that it was read under say
    existed: int = 0  # keys that were there
    faults: list[Fault] = field(default_factory=list)  # why it, or a rule for it, was rejected
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class PersonSource:
    """One event is a batch, and the next is read when it is settled: so faults find their event."""

    name = "admin"
    forgets = True

    def __init__(
        self,
        explain: Callable[[Record], Explanation],
        *,
        most: int = MOST_WAITING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`explain` asks the rules in force."""
        self._explain = explain
        self._clock = clock
        self._waiting: asyncio.Queue[Sent] = asyncio.Queue(most)
        self._current: Sent | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._stopped = asyncio.Event()

    def send(self, raw: bytes, origin: str) -> Sent:
        """Raises Busy."""
        now = int(self._clock() * 1000)
        sent = Sent(Record(self.name, origin, "", raw, time_ms=now))
        if self._stopped.is_set():
            raise Busy("the daemon is about to end: nothing new is taken in")
        try:
            self._waiting.put_nowait(sent)
        except asyncio.QueueFull:
            raise Busy(f"{self._waiting.maxsize} events of others wait already") from None
        return sent

    def note(self, *, existed: int = 0, rejections: Sequence[Rejection] = ()) -> None:
        """What came of the event in work."""
        if sent := self._current:
            sent.existed += existed
            sent.faults += [fault for rejection in rejections for fault in rejection.faults]

    async def open(self) -> None:
        """Nothing to connect to."""

    async def read(self, limit: int) -> Batch | None:
        sent = await self._next()
        if sent is None:
            return None
        self._current = sent
        self._free.clear()
        sent.told = self._explain(sent.record)
        raw = sent.record.raw or b""
        part = Slice(sent.record.origin, [raw], lambda _: sent.record)
        return Batch(self.name, [part], 1, len(raw), sent)

    async def settle(self, batch: Batch) -> None:
        sent = batch.ends
        assert isinstance(sent, Sent)
        self._current = None
        self._free.set()
        sent.settled.set()

    def lag(self) -> Lag:
        return {("", ""): self._waiting.qsize() + bool(self._current)}

    async def keep_alive(self) -> None:
        """Nobody forgets us."""

    async def stop(self) -> None:
        self._stopped.set()

    async def close(self) -> None:
        """Nothing to let go."""

    async def _next(self) -> Sent | None:
        """The next to be taken in; None when none came for a moment. After a stop, at once."""
        try:
            async with asyncio.timeout(MOMENT):
                await self._free.wait()
                if self._stopped.is_set() and self._waiting.empty():
                    return None
                return await self._waiting.get()
        except TimeoutError:
            return None
