"""A few events of each batch, planned once more one by one.

The hot path counts nothing. A sample of up to 16 records stands for its whole batch: it gives the
metrics by type and by rule, and the names that are looked up before the batch is applied, since a
wrong prefix deletes nothing and otherwise looks like success. Each record takes as long as ten on
the hot path: where small batches are many, one sample stands for the next ones, too. Below 100
events a second nothing is estimated.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from invalidator.errors import Unavailable
from invalidator.model import Batch, Kind, Record
from invalidator.rules import RuleSet, Yield
from invalidator.runtime import metrics
from invalidator.runtime.metrics import Bounded
from invalidator.targets.target import Home, Target, Watched

log = structlog.get_logger("invalidator")

SAMPLE: Final = 16  # records of a batch
PER_SECOND: Final = 100
SHARE: Final = 0.005  # of the time, for lookups
NAMES: Final = 200  # of one lookup; a sample that gave more is long enough
PATTERNS: Final = 10  # watched in a sweep: each is matched against all that the sweep finds
ENOUGH: Final = 1000  # names of a template, none of which existed

_RULES: Final = Bounded()
_TYPES: Final = Bounded()


class Aim(Struct, frozen=True):
    """A template of a rule, as its author wrote it."""

    rule: str
    kind: Kind
    template: str


Aimed = Sequence[tuple[Aim, Yield]]


class Sample(Struct, frozen=True):
    """Counts and names that a few records of a batch gave."""

    size: int = 0  # records
    types: Mapping[str, float] = {}  # how many events of each, without those that a rule rejected
    events: Mapping[str, int] = {}  # by rule
    names: Mapping[tuple[str, str], int] = {}  # by rule and kind
    aimed: Aimed = ()  # each name once; none where an earlier batch gave the sample


class Sampler:
    """Takes the samples of one source's batches."""

    def __init__(
        self,
        max_event_bytes: int,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._largest = max_event_bytes  # others are rejected without a look
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._clock = clock
        self._allowed = float(PER_SECOND)  # records that may be planned, as of then
        self._then = clock()
        self._last = Sample()

    def take(self, batch: Batch, rules: RuleSet) -> Sample:
        """Return a sample that stands for the batch; count for each rule."""
        total = sum(len(part.values) for part in batch.slices if part.refused is None)
        if not total:
            return Sample()
        if most := self._share(total):
            sample = self._plan(batch, rules, most, total)
            self._last = replace(sample, aimed=())
        else:
            sample = self._last
        weight = total / sample.size
        for rule, count in sample.events.items():
            metrics.RULE_EVENTS.labels(_RULES.of(rule)).inc(count * weight)
        for (rule, kind), count in sample.names.items():
            metrics.RULE_NAMES.labels(_RULES.of(rule), kind).inc(count * weight)
        return sample

    def _share(self, total: int) -> int:
        """Return how many records may be planned; none where the last sample has to do."""
        now = self._clock()
        earned = (now - self._then) * PER_SECOND
        self._allowed, self._then = min(PER_SECOND, self._allowed + earned), now
        return max(0, min(SAMPLE, total, int(self._allowed)))

    def _plan(self, batch: Batch, rules: RuleSet, most: int, total: int) -> Sample:
        types: Counter[str] = Counter()
        events: Counter[str] = Counter()
        names: Counter[tuple[str, str]] = Counter()
        aimed: dict[tuple[Aim, Yield], None] = {}
        planned = 0
        for record in self._some(batch, most, total):
            met = list(rules.met(record, max_event_bytes=self._largest))
            planned += 1
            if met and not any(ruling.fault for _, _, ruling in met):
                types[type_label(rules, met[0][0])] += 1
            for _, rule, ruling in met:
                if ruling.applies and not ruling.fault:
                    events[rule] += 1
                    names.update([(rule, name.kind) for name in ruling.names])
                for name in ruling.names:
                    aimed[Aim(rule, name.kind, name.template), name] = None
            if len(aimed) > NAMES:
                break
        self._allowed -= planned + len(aimed) // NAMES
        return Sample(planned, types, events, names, tuple(aimed))

    def _some(self, batch: Batch, most: int, total: int) -> Iterator[Record]:
        """Yield a few records, from all slices that rules may look at."""
        picked = sorted(self._chance.sample(range(total), most), reverse=True)
        before = 0
        for part in batch.slices:
            if part.refused is None:
                while picked and picked[-1] < before + len(part.values):
                    yield part.record(picked.pop() - before)
                before += len(part.values)


def type_label(rules: RuleSet, kind: str | None) -> str:
    """Return a type as a label: as the rules write it, and never as an event does."""
    found = rules.written(kind) if kind else None
    return _TYPES.of(found) if found else metrics.OTHER


class Tally(Struct):
    """Lookups of one template's names."""

    looked: int = 0
    existed: int = 0
    reported: bool = False  # that none existed


class Hits:
    """Looks up sampled names, and reports each template whose names never exist.

    That takes a fixed share of the time, however large events and rules are.
    """

    def __init__(
        self,
        target: Target,
        *,
        share: float = SHARE,
        enough: int = ENOUGH,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._target = target
        self._share = share
        self._enough = enough
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._next = 0.0
        self._rules = ""  # the hash of those that are counted
        self._tallies: dict[Aim, Tally] = {}
        self._watched: tuple[Watched, list[tuple[Aim, str]]] | None = None

    async def look_up(self, aimed: Aimed, rules: RuleSet) -> None:
        """Look up names before their batch is applied. An unavailable server is not reported."""
        began = self._clock()
        if not aimed or began < self._next:
            return
        self._next = float("inf")  # one lookup at a time, for all sources
        try:
            self._count_for(rules)
            self._finish_watch()
            chosen = aimed if len(aimed) <= NAMES else self._chance.sample(aimed, NAMES)
            await self._find(chosen, rules)
            self._watch(chosen, rules)
        except Unavailable:
            pass
        finally:
            ended = self._clock()
            self._next = ended + (ended - began) / self._share

    def _count_for(self, rules: RuleSet) -> None:
        """Start again with changed rules: what was wrong may be right now."""
        if rules.hash != self._rules:
            self._rules = rules.hash
            self._tallies.clear()
            self._watched = None
            metrics.NEVER_HIT.clear()

    async def _find(self, names: Aimed, rules: RuleSet) -> None:
        """Look up keys and tags. A version that does not exist is one that readers take for 0."""
        wanted: dict[Home, list[tuple[Aim, list[str]]]] = {}
        for aim, name in names:
            if keys := _keys(name, rules):
                home = self._target.home(name.cache, rules.caches)
                wanted.setdefault(home, []).append((aim, keys))
        for home, lookups in wanted.items():
            there = iter(await home.present([key for _, keys in lookups for key in keys]))
            for aim, keys in lookups:
                self._note(aim, _any([next(there) for _ in keys]))

    def _watch(self, names: Aimed, rules: RuleSet) -> None:
        """Watch patterns: only a sweep can say whether they match anything."""
        patterns = [
            (aim, name)
            for aim, name in names
            if name.kind == "patterns" and not rules.caches[name.cache].at_edge
        ]
        if patterns and not self._watched:
            cache = patterns[0][1].cache
            chosen = [(aim, name.name) for aim, name in patterns if name.cache == cache][:PATTERNS]
            home = self._target.home(cache, rules.caches)
            self._watched = home.watch([pattern for _, pattern in chosen]), chosen

    def _finish_watch(self) -> None:
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
        if tally.reported and existed:
            tally.reported = False
            metrics.NEVER_HIT.labels(aim.rule).dec()
        elif tally.looked == self._enough and not tally.existed:
            tally.reported = True
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
    """Return the keys of Redis that exist if the name hits anything."""
    if rules.caches[name.cache].at_edge:
        return []
    if name.kind == "keys":
        return [name.name]
    if name.kind == "tags":
        return [kept.key.replace("{tag}", name.name) for kept in rules.caches[name.cache].layouts]
    return []
