"""Events that a person sends: the usual pipeline, and a witness who tells what came of each."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from invalidator.model import Cause, Names, Outcome, Record, Rejection
from invalidator.pipeline.pipeline import Caches, Letters
from invalidator.rules import Cache, Explanation
from invalidator.sources.person import PersonSource


class Injection:
    """Stands before the caches and the dead letters of the pipeline that its source feeds."""

    def __init__(
        self, caches: Caches, letters: Letters, explain: Callable[[Record], Explanation]
    ) -> None:
        self.source = PersonSource(explain)
        self._caches = caches
        self._letters = letters

    def applying(
        self, names: Mapping[str, Names], caches: Mapping[str, Cache], cause: Cause
    ) -> Callable[[], Awaitable[Outcome]]:
        attempt = self._caches.applying(names, caches, cause)

        async def witnessed() -> Outcome:
            outcome = await attempt()
            self.source.note(existed=outcome.existed)
            return outcome

        return witnessed

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        await self._letters.put(rejections, rules_hash)
        self.source.note(rejections=rejections)
