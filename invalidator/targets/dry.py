"""What stands in for caches and dead letters in a dry run: it says, and does nothing."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from invalidator.model import Cause, Names, Outcome, Rejection
from invalidator.rules.rule import Cache

log = structlog.get_logger("invalidator")


class DryStore:
    """Caches that keep everything."""

    def applying(
        self, names: Mapping[str, Names], caches: Mapping[str, Cache], cause: Cause
    ) -> Callable[[], Awaitable[Outcome]]:
        async def attempt() -> Outcome:
            return Outcome()

        return attempt


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
