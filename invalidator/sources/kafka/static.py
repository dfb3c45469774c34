"""Static members of a group: whether another one goes by our name."""

import time
from collections import deque
from collections.abc import Callable

TAKEN_TWICE_WITHIN = 60.0  # seconds


class StaticName:
    """Two members of one name throw each other out, for ever."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._known = ""
        self._lost: deque[float] = deque(maxlen=2)  # when we had to join anew

    def taken(self, member_id: str) -> str:
        """What to say if so; empty otherwise. Once may be a pause that was too long."""
        if self._known and member_id != self._known:
            self._lost.append(self._clock())
        self._known = member_id
        if len(self._lost) < 2 or self._lost[-1] - self._lost[0] > TAKEN_TWICE_WITHIN:
            return ""
        self._lost.clear()
        return (
            f"the group has given us up twice within {TAKEN_TWICE_WITHIN:g} s: another member may "
            f"use INVALIDATOR_KAFKA__INSTANCE_ID={self._name} as well"
        )
