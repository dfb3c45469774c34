"""What was heard of late and settled: a cache that forgets it is told again, as long as it is here.

Pub/sub keeps nothing, so this is all there is to read again.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from msgspec import Struct

M = TypeVar("M")
MOST_MESSAGES = 20_000
MOST_BYTES = 16 << 20
UNSETTLED = 4  # times that, while nothing is settled: a second pass may be hours away


class Given(Struct, Generic[M], eq=False):
    """One batch of messages."""

    messages: Sequence[M]
    size: int
    settled: float = math.inf  # when; what is not settled may have been applied all the same
    lost: bool = False  # its messages were let go before it was settled


class Window(Generic[M]):
    """The last batches, in the order in which they were given."""

    def __init__(self, span: float) -> None:
        """`span` is how long a settled one stays, in seconds."""
        self._span = span
        self._given: deque[Given[M]] = deque()
        self._messages = 0
        self._bytes = 0
        self._forgot = -math.inf  # when the last one was settled that is no longer here
        self._lost = 0  # let go before they were settled

    def give(self, messages: Sequence[M], size: int) -> Given[M]:
        given = Given(messages, size)
        self._keep(given)
        while self._full(UNSETTLED) and len(self._given) > 1:
            self._let_go()
        return given

    def leave(self, given: Given[M]) -> None:
        """It is held elsewhere, for who knows how long, and must not keep all later ones here."""
        if given in self._given:
            self._given.remove(given)
            self._messages -= len(given.messages)
            self._bytes -= given.size

    def come_back(self, given: Given[M]) -> None:
        """It is applied anew."""
        if given.lost:
            return
        self.leave(given)
        given.settled = math.inf
        self._keep(given)

    def settle(self, given: Given[M], now: float) -> None:
        given.settled = now
        if given.lost:
            given.lost = False
            self._lost -= 1
            self._forgot = now
        while self._given and self._is_over(self._given[0], now):
            self._let_go()

    def back(self, since: float) -> tuple[list[M], bool]:
        """What was settled since, or is not yet, leaves it to be given again; whether it is all."""
        kept = [given for given in self._given if given.settled < since]
        again = [m for given in self._given if given.settled >= since for m in given.messages]
        self._given = deque(kept)
        self._messages = sum(len(given.messages) for given in kept)
        self._bytes = sum(given.size for given in kept)
        complete = self._forgot == -math.inf or self._forgot < since
        return again, complete and not self._lost

    def _let_go(self) -> None:
        gone = self._given.popleft()
        self._messages -= len(gone.messages)
        self._bytes -= gone.size
        if gone.settled < math.inf:
            self._forgot = max(self._forgot, gone.settled)
        else:
            gone.messages, gone.lost = (), True
            self._lost += 1

    def _keep(self, given: Given[M]) -> None:
        if self._span:
            self._given.append(given)
            self._messages += len(given.messages)
            self._bytes += given.size

    def _is_over(self, first: Given[M], now: float) -> bool:
        if first.settled == math.inf:
            return False
        return self._full() or first.settled < now - self._span

    def _full(self, times: int = 1) -> bool:
        return self._messages > times * MOST_MESSAGES or self._bytes > times * MOST_BYTES
