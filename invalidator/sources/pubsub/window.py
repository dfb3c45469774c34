"""The window of messages that are kept while their channels are paused."""

from collections import deque

from invalidator.sources.pubsub.recent import Message


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
