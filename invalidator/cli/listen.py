"""Receive announcements from one or several Redis servers, and report gaps."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal

from msgspec import Struct

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.redisclient import Client
from invalidator.runtime.health import Part
from invalidator.runtime.retry import until_available
from invalidator.sources.pubsub.source import PubSubSource
from invalidator.targets.redis.messages import Message, Sender, parse

SILENT_AFTER: Final = 3.0  # seconds without a heartbeat, of which there is one per second
FORGOTTEN_AFTER: Final = 600.0  # seconds; instances come and go


class Gap(Struct, frozen=True):
    """Something was applied that we did not receive, so copies of the cache may be stale.

    `new`: an unknown sender; what it applied before is unknown. `missed`: at least so many
    messages. `silent`: a sender that was alive before our connection was lost, and sends no more.
    """

    sender: Sender
    cause: Literal["new", "missed", "silent"]
    missed: int = 0

    def __str__(self) -> str:
        who = f"instance {self.sender.instance}"
        match self.cause:
            case "new":
                return f"{who} is new; what it applied before was not received"
            case "missed":
                return f"missed {self.missed} message{'s' * (self.missed != 1)} of {who}"
            case "silent":
                return f"{who} is silent; its last messages may be missing"


class _SenderState(Struct):
    seq: int
    received_at: float
    doubtful: bool = False  # our connection was lost since its last message


class Follower:
    """Applies the rules of docs/backplane.md to one channel of one Redis."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[Sender, _SenderState] = {}
        self._reconnected_at = 0.0

    def read(self, message: Message) -> Gap | None:
        """Return the gap before this message, if any."""
        known = self._known.get(message.sender)
        before = message.seq - (message.type == "applied")  # the last number used before
        if message.type == "bye":
            self._known.pop(message.sender, None)
        else:
            seq = max(known.seq, message.seq) if known else message.seq
            self._known[message.sender] = _SenderState(seq, self._clock())
        if known is None:  # a sender without a number has applied nothing
            return Gap(message.sender, "new") if before else None
        missed = before - known.seq
        return Gap(message.sender, "missed", missed) if missed > 0 else None

    def reconnected(self) -> None:
        """Note that the connection was lost: senders must show that they are alive."""
        self._reconnected_at = self._clock()
        for known in self._known.values():
            known.doubtful = True

    def look_around(self) -> list[Gap]:
        """Return senders that ended while the connection was lost. Call it from time to time."""
        now = self._clock()
        gaps = []
        for sender, known in list(self._known.items()):
            silent = now - max(known.received_at, self._reconnected_at) > SILENT_AFTER
            if known.doubtful and silent:
                gaps.append(Gap(sender, "silent"))
            if (known.doubtful and silent) or now - known.received_at > FORGOTTEN_AFTER:
                del self._known[sender]
        return gaps


BUFFER = 10_000  # messages; more are dropped, which shows as a gap
AT_ONCE = 100  # messages, before silent senders are looked for


class Lost(Struct, frozen=True):
    """A Redis is unavailable. What is announced meanwhile shows as gaps later."""

    server: str
    reason: str

    def __str__(self) -> str:
        return f"{self.server} is unavailable, retrying: {self.reason}"


Received = Message | Gap | Lost
Tell = Callable[[Received], bool]  # true when enough was received


async def listen(clients: Mapping[str, Client], tell: Tell) -> None:
    """Receive from these clients, by name, and reconnect them, until `tell` returns true."""
    enough = asyncio.Event()

    def told(received: Received) -> bool:
        if tell(received):
            enough.set()
        return enough.is_set()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_Listener(*one, told).follow()) for one in clients.items()]
            await enough.wait()
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failed:  # a closed pipe must be recognisable
        raise failed.exceptions[0] from None


class _Listener:
    """Receives from one Redis."""

    def __init__(self, name: str, client: Client, tell: Tell) -> None:
        self._tell = tell
        self._part = Part(name)
        self._source = PubSubSource(
            client, [layout.APPLIED], part=self._part, buffer=BUFFER, max_wait=0
        )
        self._follower = Follower(time.monotonic)
        self._lost = False

    async def follow(self) -> None:
        try:
            await until_available(self._open, self._part)
            while True:
                try:
                    batch = await self._source.read(AT_ONCE)
                except Unavailable as error:
                    self._say_lost(error)
                    await until_available(self._open, self._part)
                    self._follower.reconnected()
                else:
                    self._read(batch)
        finally:
            await self._source.close()

    async def _open(self) -> None:
        try:
            await self._source.open()
        except Unavailable as error:
            self._say_lost(error)
            raise
        self._lost = False

    def _say_lost(self, error: Unavailable) -> None:
        if not self._lost:
            self._lost = True
            self._tell(Lost(self._part.name, str(error).removeprefix(f"{error.server}: ")))

    def _read(self, batch: Batch | None) -> None:
        for record in batch.records() if batch else ():
            message = parse(record.raw or b"")
            if message is None:
                continue
            if (gap := self._follower.read(message)) and self._tell(gap):
                return
            if self._tell(message):
                return
        for gap in self._follower.look_around():
            self._tell(gap)
