"""Redis pub/sub: at most once. Redis keeps nothing for a reader that is not connected.

Every start, every connection after the first and every overflow of the buffer is a gap: events
published in it are lost, and no reader can tell which.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence

from redis.exceptions import RedisError

from invalidator.errors import Unavailable
from invalidator.model import Batch, Record, Slice
from invalidator.redisclient import Client
from invalidator.redisclient.errors import diagnose, reaching
from invalidator.runtime.health import Part
from invalidator.runtime.tasks import end
from invalidator.sources.gap import START, WENT_BACK, Gap, Gaps
from invalidator.sources.pubsub.link import MESSAGES, Link, Push, listening, word
from invalidator.sources.recent import Given, Message, Recent, Watch, Window
from invalidator.sources.reread import UNWATCHED, Servers, report_reread
from invalidator.sources.source import Lag

MOMENT = 0.5  # seconds that an empty read waits


class PubSubSource:
    """Subscribes to channels and globs; tasks of their own drain the links into a buffer."""

    name = "pubsub"
    forgets = True

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
        servers: Servers = UNWATCHED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sharded` channels are read from the nodes of a cluster that have their slots.

        `servers` are those of the caches. `buffer` and `max_bytes` bound the messages that wait to
        be read, and in addition those of paused channels.
        """
        self._client = client
        self._plain = channels
        self._sharded = sharded
        self._channels = [*channels, *sharded]
        self._part = part
        self._bound = buffer
        self._most_bytes = max_bytes
        self._max_wait = max_wait
        self._servers = servers
        self._watch = Watch(servers, clock)
        self._clock = clock
        self._buffer: deque[Message] = deque()
        self._bytes = 0  # in the buffer
        self._again: deque[Message] = deque()  # given before, or paused; they come first
        self._recent: Recent[Message] = Recent()
        self._paused: frozenset[str] = frozenset()
        self._window = Window(buffer, max_bytes)
        self._arrived = asyncio.Event()
        self._links: list[Link] = []
        self._listeners: list[asyncio.Task[None]] = []
        self._failure: Unavailable | None = None
        self._gaps = Gaps(self.name, now=clock)
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
        self._gaps.report(cause, self._channels, since=self._heard)
        self._part.ready()
        self._listeners = [
            asyncio.create_task(self._listen(link), name="pubsub-listener") for link in self._links
        ]

    async def read(self, limit: int) -> Batch | None:
        self._go_back()
        if not self._again and not self._gaps:
            if not self._buffer:
                await self._wait_for(1, MOMENT)
            if not self._buffer and self._failure and not self._gaps:
                raise self._failure
            if self._max_wait and 0 < len(self._buffer) < limit:
                await self._wait_for(limit, self._max_wait)
        taken, size = self._next(limit)
        self._overflow = None
        if not taken and not self._gaps:
            if self._window.full:
                await asyncio.sleep(MOMENT)  # until a channel is resumed
            return None
        return self._batch(taken, size)

    async def settle(self, batch: Batch) -> None:
        """Forget older messages: pub/sub has nothing to acknowledge."""
        assert isinstance(batch.ends, Given)
        self._recent.settle(batch.ends, self._clock())
        self._recent.forget(self._watch.safe)

    def pause(self, origins: frozenset[str]) -> None:
        for channel in self._paused - origins:
            self._again.extend(self._window.release(channel))
        for channel in origins - self._paused:
            for message in self._recent.take(channel):
                self._window.keep(message)
        self._paused = origins
        self._arrived.set()

    @property
    def overflowing(self) -> frozenset[str]:
        return frozenset({self._window.largest} if self._window.full else ())

    def lag(self) -> Lag:
        return {("", ""): len(self._buffer) + len(self._again) + len(self._window)}

    async def keep_alive(self) -> None:
        """Do nothing: listeners keep the links; messages wait in the buffer, up to its bound."""

    async def stop(self) -> None:
        self._stopped = True
        self._arrived.set()
        await self._hang_up()

    async def close(self) -> None:
        await self._hang_up()
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def _listen(self, link: Link) -> None:
        """Fill the buffer until the link breaks; `read` reports that once the buffer is empty."""
        try:
            while True:
                self._take(await link.next())
        except Exception as error:  # noqa: BLE001 - a listener that died silently reads nothing
            self._failure = diagnose(error).unavailable(self.name)
            self._part.not_ready(str(self._failure))
            self._arrived.set()

    def _take(self, reply: Push) -> None:
        kind = word(reply)
        if kind == b"pong":
            return
        if kind not in MESSAGES:  # "unsubscribe", or what only an unsubscribed link receives
            raise ConnectionError(f"the link is no longer subscribed: {reply!r}")
        value: bytes = reply[-1]
        self._bytes += len(value)
        while self._buffer and (len(self._buffer) >= self._bound or self._bytes > self._most_bytes):
            self._lose_oldest()
        channel = reply[-2].decode(errors="backslashreplace")
        self._buffer.append(Message(channel, value, int(self._clock() * 1000)))
        self._arrived.set()

    def _lose_oldest(self) -> None:
        """Keep the newest: they are the likeliest to be asked for next."""
        if not self._overflow:
            now = time.monotonic()
            self._overflow = self._gaps.report("overflow", self._channels, since=now)
        self._overflow.lose(1)
        self._bytes -= len(self._buffer.popleft().value)

    async def _wait_for(self, count: int, seconds: float) -> None:
        """Wait for that many messages, a resumed channel, a broken link or a stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self._buffer) < count and not (
                    self._again or self._failure or self._stopped
                ):
                    self._arrived.clear()
                    await self._arrived.wait()

    def _next(self, limit: int) -> tuple[list[Message], int]:
        """Take messages and their bytes; those of paused channels go into the window."""
        queue, paused = self._again or self._buffer, self._paused
        taken: list[Message] = []
        kept = 0  # bytes
        while queue and len(taken) < limit:
            if queue[0].channel not in paused:
                taken.append(queue.popleft())
            elif not self._window.full:
                kept += len(queue[0].value)
                self._window.keep(queue.popleft())
            else:
                break
        size = sum(len(message.value) for message in taken)
        if queue is self._buffer:
            self._bytes -= size + kept
        return taken, size

    def _batch(self, taken: list[Message], size: int) -> Batch:
        channels: dict[str, list[Message]] = {}
        for message in taken:
            channels.setdefault(message.channel, []).append(message)
        slices = [self._slice(channel, messages) for channel, messages in channels.items()]
        given = self._recent.give(taken, size, self._clock())
        return Batch(self.name, slices, len(taken), size, given, self._gaps.take())

    def _go_back(self) -> None:
        """Give recent messages again if the identity of the caches' servers changed."""
        since = self._watch.lost_since()
        if since is None:
            return
        again, complete = self._recent.take_since(since)
        self._again.extendleft(reversed(again))
        if again:
            messages = f"{len(again)} message{'s' * (len(again) != 1)}"
            report_reread(self.name, since, self._servers, {"channels": messages})
        if not complete:
            self._gaps.report(WENT_BACK, self._channels)

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
