"""The caches: what a plan names is forgotten when `apply` returns."""

from collections.abc import Mapping

from invalidator import metrics
from invalidator.model import Failure, Outcome, Plan
from invalidator.store.commands import Keys


class Store:
    """All caches of one rule set, each on its Redis."""

    def __init__(self, caches: Mapping[str, Keys]) -> None:
        self._caches = caches

    async def apply(self, plan: Plan) -> Outcome:
        """Everything the plan names. Raises Unavailable; then all of it may be applied again."""
        outcome = Outcome()
        for cache, names in plan.caches.items():
            existed, failed = await self._caches[cache].unlink(list(names.keys))
            outcome.existed += existed
            outcome.failures += [
                Failure(cache, "keys", key, verdict.code, verdict.message)
                for key, verdict in failed.items()
            ]
            metrics.NAMES.labels("keys").inc(len(names.keys) - len(failed))
        metrics.EXISTED.inc(outcome.existed)
        return outcome
