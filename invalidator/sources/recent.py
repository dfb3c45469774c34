"""Messages that may have to be given again, where no server keeps them."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from invalidator.sources.reread import Servers

MOST_MESSAGES = 20_000
MOST_BYTES = 16 << 20


class Message(NamedTuple):  # one is made for every event: this is the cheapest that has names
    """One message as it came."""

    channel: str
    value: bytes
    time_ms: int  # when we received it: pub/sub carries no time of its own


class Kept(Protocol):
    """Whatever is kept."""

    @property
    def channel(self) -> str: ...

    @property
    def value(self) -> bytes: ...


M = TypeVar("M", bound=Kept)


class Given(Struct, eq=False):
    """The messages of one batch."""

    messages: Sequence[Any]
    size: int
    settled: float = math.inf  # when; even unsettled messages may have been applied
    dropped: bool = False


class Recent(Generic[M]):
    """The last batches, in the order in which they were given."""

    def __init__(self) -> None:
        self._given: deque[Given] = deque()
        self._messages = 0
        self._bytes = 0
        self._dropped = -math.inf  # when the last of the dropped messages were applied, at most

    def give(self, messages: Sequence[M], size: int, now: float) -> Given:
        """Keep a batch, and drop the oldest ones beyond the bounds."""
        given = Given(messages, size)
        self._given.append(given)
        self._count(len(messages), size)
        while len(self._given) > 1 and self._is_full:
            oldest = self._pop()
            oldest.messages, oldest.dropped = (), True
            self._dropped = max(self._dropped, min(oldest.settled, now))
        return given

    def settle(self, given: Given, now: float) -> None:
        """Note that a batch is settled."""
        given.settled = now
        if given.dropped:
            self._dropped = now

    def forget(self, before: float) -> None:
        """Forget the oldest batches that were settled until then."""
        while self._given and self._given[0].settled <= before:
            self._pop()

    def take(self, channel: str) -> list[M]:
        """Remove and return the unsettled messages of a channel."""
        taken = []
        for given in self._given:
            if given.settled == math.inf:
                ours = [message for message in given.messages if message.channel == channel]
                given.messages = [m for m in given.messages if m.channel != channel]
                size = sum(len(message.value) for message in ours)
                given.size -= size
                self._count(-len(ours), -size)
                taken += ours
        return taken

    def take_since(self, since: float) -> tuple[list[M], bool]:
        """Remove and return what was settled since, or is not yet; and whether none is missing."""
        again = [m for given in self._given if given.settled >= since for m in given.messages]
        self._given.clear()
        self._messages = self._bytes = 0
        return again, self._dropped < since

    @property
    def _is_full(self) -> bool:
        return self._messages > MOST_MESSAGES or self._bytes > MOST_BYTES

    def _pop(self) -> Given:
        given = self._given.popleft()
        self._count(-len(given.messages), -given.size)
        return given

    def _count(self, messages: int, size: int) -> None:
        self._messages += messages
        self._bytes += size


class Watch:
    """Knows since when the caches' servers may have lost what was applied."""

    def __init__(self, servers: Servers, clock: Callable[[], float]) -> None:
        self._servers = servers
        self._clock = clock
        self._identity = ""  # of the servers to which all recent messages were applied
        self._same_at = 0.0  # when they were last known to have it

    @property
    def safe(self) -> float:
        """Return the time before which whatever was settled is never lost."""
        window = self._servers.window
        return self._same_at - window if window else self._clock()

    def lost_since(self) -> float | None:
        """Return since when writes may be lost, once after each change of identity."""
        before, current = self._identity, self._servers.identity
        if not current:
            return None
        since, self._same_at = self._same_at - self._servers.window, self._clock()
        self._identity = current
        return None if before in ("", current) else since


class Window:
    """Messages of paused channels, bounded in number and bytes."""

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        self._most = most_messages, most_bytes
        self._kept: dict[str, deque[Message]] = {}
        self._bytes: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def keep(self, message: Message) -> None:
        """Keep one more message."""
        self._kept.setdefault(message.channel, deque()).append(message)
        size = self._bytes.get(message.channel, 0)
        self._bytes[message.channel] = size + len(message.value)

    def release(self, channel: str) -> deque[Message]:
        """Remove and return the messages of a channel, in order."""
        self._bytes.pop(channel, None)
        return self._kept.pop(channel, deque())

    @property
    def full(self) -> bool:
        """Return whether nothing more can be kept."""
        messages, size = self._most
        return len(self) >= messages or sum(self._bytes.values()) >= size

    @property
    def largest(self) -> str:
        """Return the channel that takes most of the window."""
        return max(self._kept, key=lambda channel: (self._bytes[channel], len(self._kept[channel])))
