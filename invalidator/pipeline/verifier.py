"""Name who checks later whether what was applied is fresh: only rules with `verify:` matter."""

from collections.abc import Sequence
from typing import Protocol

from invalidator.model import Rejection
from invalidator.pipeline.work import Applied, Work


class Verifier(Protocol):
    """Takes a sample of what is applied."""

    def applied(self, work: Work, now: float) -> None:
        """Note a batch whose keys, tags and versions are gone."""

    def settled(self, applied: Applied, rejections: Sequence[Rejection], now: float) -> None:
        """Note a batch of which everything is done, sweeps included."""


class NoVerifier:
    """Checks nothing."""

    def applied(self, work: Work, now: float) -> None: ...

    def settled(self, applied: Applied, rejections: Sequence[Rejection], now: float) -> None: ...
