"""What stands in for caches and dead letters in a dry run: it says, and does nothing."""

from collections.abc import Mapping, Sequence

import structlog

from invalidator.model import Names, Outcome, Rejection
from invalidator.rules.schema import Cache

log = structlog.get_logger("invalidator")


class DryStore:
    """Caches that keep everything."""

    async def apply(self, names: Mapping[str, Names], caches: Mapping[str, Cache]) -> Outcome:
        return Outcome()


class DryLetters:
    """Dead letters that go to the log, without their payload."""

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        for rejection in rejections:
            for fault in rejection.faults:
                log.warning(
                    "would-reject",
                    origin=rejection.record.origin,
                    position=rejection.record.position,
                    error=fault.error,
                    rule=fault.rule,
                    what=fault.what,
                )
