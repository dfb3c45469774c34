"""Log dead letters: one warning for each rule and error, now and then, however many there are."""

import re
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from msgspec import Struct

from invalidator.model import Rejection
from invalidator.runtime import metrics

log = structlog.get_logger("invalidator")

QUIET: Final = 30.0  # seconds between two lines about the same rule and error
MOST: Final = 1000  # pairs of rule and error that are remembered
_DETAIL: Final = re.compile(r"[:;] ")  # what follows may quote the event, which only debug shows


class _Told(Struct):
    at: float  # when the last line was logged
    count: int = 0  # dead letters since then
    last: str = ""


class Reports:
    """Counts dead letters that were stored, and logs them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str | None, str], _Told] = {}

    def stored(self, letters: Iterable[tuple[Rejection, str]]) -> None:
        """Report these, each with where it is stored."""
        reasons: dict[tuple[str | None, str], str] = {}
        for rejection, where in letters:
            metrics.DEAD.labels(rejection.faults[0].error).inc()
            for fault in rejection.faults:
                pair = fault.rule, fault.error
                told = self._told.setdefault(pair, _Told(float("-inf")))
                told.count += 1
                told.last = where
                reasons[pair] = _DETAIL.split(fault.message, maxsplit=1)[0]
        now = self._clock()
        for pair, reason in reasons.items():
            told = self._told[pair]
            if now - told.at >= QUIET:
                rule, error = pair
                self._told[pair] = _Told(now)
                log.warning(
                    "dead-letter",
                    rule=rule,
                    error=error,
                    reason=reason,
                    count=told.count,
                    last=told.last,
                )
        if len(self._told) > MOST:
            self._told.clear()
