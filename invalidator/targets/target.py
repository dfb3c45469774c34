"""The caches, as the pipeline sees them: names are applied, and a few are looked up."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import structlog

from invalidator.model import Application, Cause, Names, Outcome, Rejection
from invalidator.rules.rule import Cache


class Watched(Protocol):
    """A sweep to come, or under way."""

    @property
    def done(self) -> bool:
        """Return whether it is over."""

    def hit(self, pattern: str) -> bool | None:
        """Return whether a pattern matched a key; None where that is not known."""


class Home(Protocol):
    """A server where caches live, which knows the names that exist."""

    async def present(self, keys: Sequence[str]) -> list[bool | None]:
        """Return whether each key exists; None where we may not know. Raises Unavailable."""

    def watch(self, patterns: Collection[str]) -> Watched:
        """Return the sweep that will serve these patterns, without asking for one."""


class Target(Protocol):
    """Makes all caches of the rules forget names."""

    def application(
        self, names: Mapping[str, Names], caches: Mapping[str, Cache], cause: Cause
    ) -> Application:
        """Return the application of names, by the name of their cache. Nothing is applied yet."""

    def home(self, cache: str, caches: Mapping[str, Cache]) -> Home:
        """Return where a cache lives."""


log = structlog.get_logger("invalidator")


class DryTarget:
    """Caches that keep everything."""

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
