"""Whether rules hit anything. A wrong prefix deletes nothing, and otherwise looks like success.

Now and then, before a batch is applied, the names of a few of its events are looked up: which
template gives them, and are they there? It takes a fixed share of the time, however large events
and rules are, and the hot path goes on without bookkeeping.
"""

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.model import Batch, Kind
from invalidator.pipeline.mix import some
from invalidator.rules import Cache, RuleSet, Yield
from invalidator.runtime import metrics

log = structlog.get_logger("invalidator")

SHARE = 0.005  # of the time
EVENTS = 50  # a look, at most: a few milliseconds
NAMES = 200
PATTERNS = 10  # watched in a sweep: each is matched against all that the sweep finds
ENOUGH = 1000  # names of a template, none of which was there


class Watched(Protocol):
    """A sweep to come, or under way."""

    @property
    def done(self) -> bool: ...

    def hit(self, pattern: str) -> bool | None:
        """Whether it matched a key; None where that is not known."""


class Home(Protocol):
    """Where caches live: it says what is there."""

    async def present(self, keys: Sequence[str]) -> list[bool | None]:
        """Of each key; None where we may not know. Raises Unavailable."""

    def watch(self, patterns: Collection[str]) -> Watched:
        """The sweep that these will be asked of."""


class Homes(Protocol):
    def home(self, cache: str, caches: Mapping[str, Cache]) -> Home: ...


class Aim(Struct, frozen=True):
    """One template of one rule, as its author wrote it."""

    rule: str
    kind: Kind
    template: str


class Tally(Struct):
    looked: int = 0
    existed: int = 0
    told: bool = False  # that it never hit


class Hits:
    """What became of a sample of names, for each template of the rules in force."""

    def __init__(
        self,
        homes: Homes,
        max_event_bytes: int,
        *,
        share: float = SHARE,
        enough: int = ENOUGH,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._homes = homes
        self._largest = max_event_bytes  # others are rejected without a look
        self._share = share
        self._enough = enough
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._next = 0.0
        self._rules = ""  # the hash of those that are counted
        self._tallies: dict[Aim, Tally] = {}
        self._watched: tuple[Watched, list[tuple[Aim, str]]] | None = None

    async def look(self, batch: Batch, rules: RuleSet) -> None:
        """Before the batch is applied. Whatever fails here is for others to say."""
        began = self._clock()
        if began < self._next:
            return
        self._next = float("inf")  # one look at a time, whoever asks
        try:
            self._count_for(rules)
            self._reap()
            names = self._names(batch, rules)
            await self._find(names, rules)
            self._watch(names, rules)
        except Unavailable:
            pass
        finally:
            ended = self._clock()
            self._next = ended + (ended - began) / self._share

    def _count_for(self, rules: RuleSet) -> None:
        """Changed rules begin anew: what was wrong may be right now."""
        if rules.hash != self._rules:
            self._rules = rules.hash
            self._tallies.clear()
            self._watched = None
            metrics.NEVER_HIT.clear()

    def _names(self, batch: Batch, rules: RuleSet) -> list[tuple[Aim, Yield]]:
        found = {
            (Aim(rule, name.kind, name.template), name): None
            for record in some(batch, EVENTS, self._chance)
            for rule, name in rules.names(record, max_event_bytes=self._largest)
        }
        names = list(found)
        return names if len(names) <= NAMES else self._chance.sample(names, NAMES)

    async def _find(self, names: list[tuple[Aim, Yield]], rules: RuleSet) -> None:
        """A version that is not there yet says nothing: readers take it for 0."""
        wanted: dict[Home, list[tuple[Aim, list[str]]]] = {}
        for aim, name in names:
            if keys := _keys(name, rules):
                home = self._homes.home(name.cache, rules.caches)
                wanted.setdefault(home, []).append((aim, keys))
        for home, lookups in wanted.items():
            there = iter(await home.present([key for _, keys in lookups for key in keys]))
            for aim, keys in lookups:
                self._note(aim, _any([next(there) for _ in keys]))

    def _watch(self, names: list[tuple[Aim, Yield]], rules: RuleSet) -> None:
        """Only the sweep itself can tell whether a pattern matches anything."""
        patterns = [(aim, name) for aim, name in names if name.kind == "patterns"]
        if patterns and not self._watched:
            cache = patterns[0][1].cache
            chosen = [(aim, name.name) for aim, name in patterns if name.cache == cache][:PATTERNS]
            home = self._homes.home(cache, rules.caches)
            self._watched = home.watch([pattern for _, pattern in chosen]), chosen

    def _reap(self) -> None:
        if self._watched and self._watched[0].done:
            sweep, patterns = self._watched
            self._watched = None
            for aim, pattern in patterns:
                self._note(aim, sweep.hit(pattern))

    def _note(self, aim: Aim, existed: bool | None) -> None:
        if existed is None:
            return
        tally = self._tallies.setdefault(aim, Tally())
        tally.looked += 1
        tally.existed += existed
        metrics.SAMPLED.labels(aim.rule, aim.kind).inc()
        metrics.SAMPLED_EXISTED.labels(aim.rule, aim.kind).inc(existed)
        if tally.told and existed:
            tally.told = False
            metrics.NEVER_HIT.labels(aim.rule).dec()
        elif tally.looked == self._enough and not tally.existed:
            tally.told = True
            metrics.NEVER_HIT.labels(aim.rule).inc()
            log.warning(
                "never-hit",
                rule=aim.rule,
                kind=aim.kind,
                template=aim.template,
                looked_up=tally.looked,
                advice="none of these names existed: does the cache write them so, with this "
                "prefix and on this Redis? `invalidator explain EVENT --live` shows one",
            )


def _any(answers: list[bool | None]) -> bool | None:
    return True if True in answers else None if None in answers else False


def _keys(name: Yield, rules: RuleSet) -> list[str]:
    """The keys of Redis that are there if the name hits anything."""
    if name.kind == "keys":
        return [name.name]
    if name.kind == "tags":
        return [kept.key.replace("{tag}", name.name) for kept in rules.caches[name.cache].layouts]
    return []
