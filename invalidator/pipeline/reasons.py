"""Why events were rejected, since the start: the top reasons, for people."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from invalidator.model import Rejection

MOST: Final = 500  # reasons that are told apart


class Reason(Struct):
    """One reason, and how often it was given."""

    rule: str  # empty: the event itself could not be read
    what: str  # the template, condition or operation
    error: str
    events: int = 0
    last: float = 0.0  # Unix time


class Reasons:
    """Counts rejections by rule, template and error."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Reason] = {}

    def add(self, rejections: Iterable[Rejection], now: float) -> None:
        for rejection in rejections:
            for fault in rejection.faults:
                reason = self._of(fault.rule or "", fault.what, fault.error)
                reason.events += 1
                reason.last = now

    def top(self) -> list[Reason]:
        """Return all reasons, the most frequent first."""
        return sorted(self._found.values(), key=lambda reason: -reason.events)

    def _of(self, rule: str, what: str, error: str) -> Reason:
        """Return the reason; beyond the bound, one that all further ones of its error share."""
        key = (rule, what, error)
        if key not in self._found and len(self._found) >= MOST:
            key = ("", "", error)
        return self._found.setdefault(key, Reason(*key))
