"""Reads what was announced, and notices what it missed."""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from invalidator.targets.redis.messages import Message, Sender

SILENT_AFTER: Final = 3.0  # seconds without a heartbeat; they come each second
FORGOTTEN_AFTER: Final = 600.0  # seconds; instances come and go


class Gap(Struct, frozen=True):
    """Something was applied that we were not told of. What was kept of the cache is in doubt.

    `new`: a sender we did not know; what it applied before is unknown. `missed`: at least so many
    messages. `silent`: it was alive before our connection was lost, and is not heard any more.
    """

    sender: Sender
    cause: Literal["new", "missed", "silent"]
    missed: int = 0

    def __str__(self) -> str:
        who = f"instance {self.sender.instance}"
        match self.cause:
            case "new":
                return f"{who} is new here; what it applied before was not heard"
            case "missed":
                return f"missed {self.missed} message{'s' * (self.missed != 1)} of {who}"
            case "silent":
                return f"{who} is not heard any more; its last messages may be missing"


class _Known(Struct):
    seq: int
    heard_at: float
    doubtful: bool = False  # our connection was lost since we heard it


class Follower:
    """The rules of docs/backplane.md for one channel of one Redis."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[Sender, _Known] = {}
        self._reconnected_at = 0.0

    def read(self, message: Message) -> Gap | None:
        """What went missing before this message."""
        known = self._known.get(message.sender)
        before = message.seq - (message.type == "applied")  # what had been used then
        if message.type == "bye":
            self._known.pop(message.sender, None)
        else:
            seq = max(known.seq, message.seq) if known else message.seq
            self._known[message.sender] = _Known(seq, self._clock())
        if known is None:  # one that has used no number has applied nothing
            return Gap(message.sender, "new") if before else None
        missed = before - known.seq
        return Gap(message.sender, "missed", missed) if missed > 0 else None

    def reconnected(self) -> None:
        """The connection was lost: whoever was alive must be heard again."""
        self._reconnected_at = self._clock()
        for known in self._known.values():
            known.doubtful = True

    def look_around(self) -> list[Gap]:
        """Ask now and then: whoever ended while we were away told nobody we know of."""
        now = self._clock()
        gaps = []
        for sender, known in list(self._known.items()):
            silent = now - max(known.heard_at, self._reconnected_at) > SILENT_AFTER
            if known.doubtful and silent:
                gaps.append(Gap(sender, "silent"))
            if (known.doubtful and silent) or now - known.heard_at > FORGOTTEN_AFTER:
                del self._known[sender]
        return gaps
