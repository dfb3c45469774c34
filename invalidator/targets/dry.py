"""Stand-ins for caches and dead letters in a dry run: they log, and change nothing."""

from collections.abc import Mapping, Sequence

import structlog

from invalidator.model import Application, Cause, Names, Outcome, Rejection
from invalidator.rules.rule import Cache
from invalidator.targets.target import Home, Target

log = structlog.get_logger("invalidator")


class DryTarget:
    """Caches that keep everything."""

    left = 0

    def __init__(self, target: Target) -> None:
        self._target = target

    def application(
        self, names: Mapping[str, Names], caches: Mapping[str, Cache], cause: Cause
    ) -> Application:
        return self

    async def apply_names(self) -> Outcome:
        return Outcome()

    def home(self, cache: str, caches: Mapping[str, Cache]) -> Home:
        return self._target.home(cache, caches)


class DryLetters:
    """Dead letters that are logged, without their payload."""

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
