"""Read announcements and detect missed ones."""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from invalidator.targets.redis.messages import Message, Sender

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
    heard_at: float
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
            silent = now - max(known.heard_at, self._reconnected_at) > SILENT_AFTER
            if known.doubtful and silent:
                gaps.append(Gap(sender, "silent"))
            if (known.doubtful and silent) or now - known.heard_at > FORGOTTEN_AFTER:
                del self._known[sender]
        return gaps
