"""Redis pub/sub: at most once. Redis keeps nothing for a reader that is not there.

Every start, every connection after the first and every overflow of the buffer is a gap: events
published in it are lost, and no reader can tell which.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from redis.exceptions import RedisError

from invalidator.errors import Unavailable
from invalidator.model import Batch, Record, Slice
from invalidator.redisclient import Client
from invalidator.redisclient.errors import diagnose, reaching
from invalidator.runtime.health import Part
from invalidator.runtime.tasks import end
from invalidator.sources.gap import START, Gap, Gaps
from invalidator.sources.pubsub.link import MESSAGES, Link, Push, listening, word
from invalidator.sources.pubsub.recent import Given, Window
from invalidator.sources.source import Lag
from invalidator.sources.trail import TIMELESS, WENT_BACK, Eras, Memory

MOMENT = 0.5  # seconds that an empty read waits


class Message(NamedTuple):  # one is made for every event: this is the cheapest that has names
    """One message as it came."""

    channel: str
    value: bytes
    time_ms: int  # when we received it: pub/sub carries no time of its own


class PubSubSource:
    """Subscribes to channels and globs; tasks of their own drain the links into a buffer."""

    name = "pubsub"
    forgets = True
    overflowing: frozenset[str] = frozenset()

    def __init__(
        self,
        client: Client,
        channels: Sequence[str],
        *,
        part: Part,
        buffer: int,
        max_bytes: int = 64 << 20,
        max_wait: float,
        sharded: Sequence[str] = (),
        eras: Eras = TIMELESS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sharded` channels are heard on the nodes of a cluster that have their slots."""
        self._client = client
        self._plain = channels
        self._sharded = sharded
        self._channels = [*channels, *sharded]
        self._part = part
        self._bound = buffer
        self._most_bytes = max_bytes
        self._bytes = 0  # of what waits in the buffer
        self._max_wait = max_wait
        self._clock = clock
        self._buffer: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._links: list[Link] = []
        self._listeners: list[asyncio.Task[None]] = []
        self._failure: Unavailable | None = None
        self._gaps = Gaps(self.name, now=clock)
        self._memory = Memory(eras, self.name)
        self._era = ""  # of the caches, in which all was applied that the window still has
        self._window: Window[Message] = Window(eras.most)
        self._again: deque[Message] = deque()  # what a cache may have forgotten
        self._heard: float | None = None  # when all links were last known to live; None: never
        self._overflow: Gap | None = None
        self._stopped = False

    async def open(self) -> None:
        await self._hang_up()
        self._failure = None
        self._stopped = False
        with reaching(self.name):
            self._links = await listening(self._client, self._plain, self._sharded, self._take)
        cause = START if self._heard is None else "reconnected"
        self._gaps.tell(cause, self._channels, since=self._heard)
        self._part.ready()
        self._listeners = [
            asyncio.create_task(self._listen(link), name="pubsub-listener") for link in self._links
        ]

    async def read(self, limit: int) -> Batch | None:
        await self._go_back()
        if self._again:
            count = min(limit, len(self._again))
            return self._batch([self._again.popleft() for _ in range(count)])
        if not self._buffer and not self._gaps:
            await self._wait_for(1, MOMENT)
        if not self._buffer and not self._gaps:
            if self._failure:
                raise self._failure
            return None
        if self._max_wait and 0 < len(self._buffer) < limit:
            await self._wait_for(limit, self._max_wait)
        taken = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self._overflow = None
        batch = self._batch(taken)
        self._bytes -= batch.size
        return batch

    async def settle(self, batch: Batch) -> None:
        """Pub/sub has nothing to acknowledge."""
        assert isinstance(batch.ends, Given)
        self._window.settle(batch.ends, self._clock())

    def pause(self, origins: Collection[str]) -> None:
        """Nobody can pause a channel: what comes meanwhile is given."""

    def set_aside(
        self, ends: object, origins: Collection[str], *, whole: bool
    ) -> tuple[object, object]:
        """The others of a batch are settled, and it with them."""
        assert isinstance(ends, Given)
        if whole:
            self._window.leave(ends)
        return ends, ends

    def take_back(self, ends: object) -> bool:
        assert isinstance(ends, Given)
        self._window.come_back(ends)
        return True

    def lag(self) -> Lag:
        return {("", ""): len(self._buffer)}

    async def keep_alive(self) -> None:
        """The listener keeps the link; messages wait in the buffer, up to its bound."""

    async def stop(self) -> None:
        self._stopped = True
        self._arrived.set()
        await self._hang_up()

    async def close(self) -> None:
        await self._hang_up()
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def _listen(self, link: Link) -> None:
        """Fill the buffer until the link breaks; `read` reports the break once that is empty."""
        try:
            while True:
                self._take(await link.next())
        except Exception as error:  # noqa: BLE001 - a listener that died in silence hears nothing
            self._failure = diagnose(error).unavailable(self.name)
            self._part.away(str(self._failure))
            self._arrived.set()

    def _take(self, reply: Push) -> None:
        kind = word(reply)
        if kind == b"pong":
            return
        if kind not in MESSAGES:  # "unsubscribe", or what only an unsubscribed link is told
            raise ConnectionError(f"the link is no longer subscribed: {reply!r}")
        value: bytes = reply[-1]
        self._bytes += len(value)
        while self._buffer and (len(self._buffer) >= self._bound or self._bytes > self._most_bytes):
            self._lose_oldest()
        channel = reply[-2].decode(errors="backslashreplace")
        self._buffer.append(Message(channel, value, int(self._clock() * 1000)))
        self._arrived.set()

    def _lose_oldest(self) -> None:
        """The newest are the likeliest to be asked for next."""
        if not self._overflow:
            now = time.monotonic()
            self._overflow = self._gaps.tell("overflow", self._channels, since=now)
        self._overflow.lose(1)
        self._bytes -= len(self._buffer.popleft().value)

    async def _wait_for(self, count: int, seconds: float) -> None:
        """Until that many are there, the time is over, the link broke, or a stop came."""
        try:
            async with asyncio.timeout(seconds):
                while len(self._buffer) < count and not (self._failure or self._stopped):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass

    def _batch(self, taken: list[Message]) -> Batch:
        channels: dict[str, list[Message]] = {}
        for message in taken:
            channels.setdefault(message.channel, []).append(message)
        slices = [self._slice(channel, messages) for channel, messages in channels.items()]
        size = sum(len(message.value) for message in taken)
        given = self._window.give(taken, size)
        return Batch(self.name, slices, len(taken), size, given, self._gaps.take())

    async def _go_back(self) -> None:
        """Where a cache may have forgotten what was settled, that is given again."""
        current = self._memory.eras.current
        if self._era == current:
            return
        since = await self._memory.since([self._era])
        if not since:
            return
        moment, self._era = since[self._era], current
        if moment == math.inf:
            return
        again, complete = self._window.back(moment)
        self._again.extend(again)
        if again:
            count = len(again)
            self._memory.tell([moment], {"channels": f"{count} message{'s' * (count != 1)}"})
        if not complete:
            self._gaps.tell(WENT_BACK, self._channels)

    def _slice(self, channel: str, messages: list[Message]) -> Slice:
        def record(index: int) -> Record:
            message = messages[index]
            return Record(self.name, channel, "", message.value, time_ms=message.time_ms)

        return Slice(channel, [message.value for message in messages], record)

    async def _hang_up(self) -> None:
        for listener in self._listeners:
            await end(listener)
        for link in self._links:
            await link.close()
        if self._links:
            self._heard = min(link.heard for link in self._links)
        self._listeners, self._links = [], []
