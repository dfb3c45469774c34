"""The rules in force. Others replace them as a whole and valid, or not at all."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog
from msgspec import Struct

from invalidator.errors import Problem, RulesError
from invalidator.rules import Cache, RuleSet
from invalidator.rules.lint import outlasting, unread
from invalidator.runtime import metrics
from invalidator.settings import Settings
from invalidator.settings.caches import misplaced_caches, read_origins

log = structlog.get_logger("invalidator")


class Reloaded(Struct, frozen=True):
    """The result of a look at the rules on disk."""

    rules: str  # the hash of those in force
    problems: Sequence[str] = ()  # why those on disk are not


class RulesInForce:
    """Batches that were planned before a change keep the rules they were planned with."""

    def __init__(
        self,
        rules: RuleSet,
        settings: Settings,
        configure: Callable[[Mapping[str, Cache]], None],
    ) -> None:
        """`configure` is called with the caches of the rules."""
        self.rules = rules
        self.loaded = time.time()
        self.rejected: Sequence[str] = ()  # why those on disk are not in force
        self.look = asyncio.Event()  # somebody asks for a look at them now
        self._settings = settings
        self._configure = configure
        self._asked: list[asyncio.Future[Reloaded]] = []  # who waits for that
        configure(rules.caches)
        metrics.RELOAD_OK.set(1)

    async def reload(self) -> Reloaded:
        """Look at those on disk now; return the result."""
        answer: asyncio.Future[Reloaded] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self.look.set()
        return await answer

    def load(self, rules: RuleSet) -> None:
        """Put valid rules in force, unless the settings do not fit their caches."""
        if misplaced := [*misplaced_caches(self._settings, rules.caches)]:
            where = str(self._settings.rules)
            self.reject(RulesError([Problem(where, 0, 0, said) for said in misplaced]))
            return
        before, self.rules = self.rules, rules
        self.loaded = time.time()
        self._configure(rules.caches)
        metrics.RELOADS.labels("loaded").inc()
        metrics.RELOAD_OK.set(1)
        log.info("rules-reloaded", rules=rules.hash, before=before.hash, count=len(rules.rules))
        self.report()
        self._answer(())

    def reject(self, error: RulesError) -> None:
        """Keep the rules in force, and report what is wrong with those on disk."""
        metrics.RELOADS.labels("rejected").inc()
        metrics.RELOAD_OK.set(0)
        problems = [str(problem) for problem in error.problems]
        log.error("rules-rejected", in_force=self.rules.hash, problems=problems)
        self._answer(problems)

    def report(self) -> None:
        """Report which rules are in force, and log what they cannot do here."""
        metrics.RULES.info({"hash": self.rules.hash})
        metrics.LOADED.set(self.loaded)
        for rule, said in outlasting(self.rules.rules, self._settings.drain_timeout):
            log.warning("second-pass-outlasts-drain", rule=rule.name, meaning=said)
        for rule, said in unread(self.rules.rules, read_origins(self._settings)):
            log.info("rule-never-applies", rule=rule.name, meaning=said)

    def _answer(self, problems: Sequence[str]) -> None:
        self.rejected = problems
        for answer in self._waiting():
            answer.set_result(Reloaded(self.rules.hash, problems))

    def _waiting(self) -> Iterator[asyncio.Future[Reloaded]]:
        asked, self._asked = self._asked, []
        return (answer for answer in asked if not answer.done())
