"""The rules in force, and how others take their place: whole and sound, or not at all."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog
from msgspec import Struct

from invalidator.errors import Problem, RulesError
from invalidator.rules import Cache, RuleSet
from invalidator.rules.lint.delays import outlasting
from invalidator.rules.lint.unread import unread
from invalidator.runtime import metrics
from invalidator.settings import Settings
from invalidator.settings.caches import read_origins, unknown_caches

log = structlog.get_logger("invalidator")


class Reloaded(Struct, frozen=True):
    """What a look at the rules on disk came to."""

    rules: str  # the hash of those in force
    problems: Sequence[str] = ()  # why those on disk are not


class InForce:
    """Batches that were read before a change keep the rules they were read with."""

    def __init__(
        self,
        rules: RuleSet,
        settings: Settings,
        configure: Callable[[Mapping[str, Cache]], None],
    ) -> None:
        """`configure` tells the store of their caches."""
        self.rules = rules
        self.loaded = time.time()
        self.refused: Sequence[str] = ()  # why those on disk are not in force
        self.look = asyncio.Event()  # somebody wants them to be read again now
        self._settings = settings
        self._configure = configure
        self._asked: list[asyncio.Future[Reloaded]] = []  # who waits for that
        configure(rules.caches)
        metrics.RELOAD_OK.set(1)

    async def reload(self) -> Reloaded:
        """Look at those on disk now."""
        answer: asyncio.Future[Reloaded] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self.look.set()
        return await answer

    def accept(self, rules: RuleSet) -> None:
        if unknown := [*unknown_caches(self._settings, rules.caches)]:
            where = str(self._settings.rules)
            self.refuse(RulesError([Problem(where, 0, 0, said) for said in unknown]))
            return
        before, self.rules = self.rules, rules
        self.loaded = time.time()
        self._configure(rules.caches)
        metrics.RELOADS.labels("accepted").inc()
        metrics.RELOAD_OK.set(1)
        log.info("rules-accepted", rules=rules.hash, before=before.hash, count=len(rules.rules))
        self.tell()
        self._answer(())

    def refuse(self, error: RulesError) -> None:
        metrics.RELOADS.labels("refused").inc()
        metrics.RELOAD_OK.set(0)
        problems = [str(problem) for problem in error.problems]
        log.error("rules-refused", in_force=self.rules.hash, problems=problems)
        self._answer(problems)

    def tell(self) -> None:
        """Metrics say which they are, and the log what they cannot do here."""
        metrics.RULES.info({"hash": self.rules.hash})
        metrics.LOADED.set(self.loaded)
        for rule, said in outlasting(self.rules.rules, self._settings.drain_timeout):
            log.warning("second-pass-outlasts-drain", rule=rule.name, meaning=said)
        for rule, said in unread(self.rules.rules, read_origins(self._settings)):
            log.info("rule-never-applies", rule=rule.name, meaning=said)

    def _answer(self, problems: Sequence[str]) -> None:
        self.refused = problems
        for answer in self._waiting():
            answer.set_result(Reloaded(self.rules.hash, problems))

    def _waiting(self) -> Iterator[asyncio.Future[Reloaded]]:
        asked, self._asked = self._asked, []
        return (answer for answer in asked if not answer.done())
