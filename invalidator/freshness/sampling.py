"""Choose the events that are checked: a share of them, at most so many a second."""

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice

from msgspec import Struct

from invalidator.freshness.compare import Ordered, expected_of
from invalidator.freshness.findings import Names, Trace
from invalidator.freshness.stored import Unreadable
from invalidator.model import Batch, Kind, Record
from invalidator.pipeline.work import Work
from invalidator.rules import RuleSet
from invalidator.rules.explain.explain import Explanation, Verdict
from invalidator.rules.rule import Cache, Rule, Verify

SEARCHED = 64  # events of a slice in which the newest one for a name is looked for
Name = tuple[str, Kind, str]  # the cache, the kind and the name


class Check(Struct, eq=False):
    """A name that is to be read some time after its event was applied."""

    name: Name
    rule: Rule
    cache: Cache
    caches: Mapping[str, Cache]  # of the rules it was planned with
    expected: tuple[Ordered, ...]  # by the event; empty where a source of truth is asked
    trace: Trace
    shown: str  # the name, as it may be shown
    identity: str  # of the caches' servers when it was applied
    step: int = 0  # which delay comes next
    began: float = 0.0  # Unix time, from which delays count
    fresh_before: bool = False
    suspected: int = 0  # how often in a row the truth was different
    baseline: int | None = None  # of a version: what it was just after it was raised
    over: bool = False  # a later event is checked instead

    @property
    def verify(self) -> Verify:
        assert self.rule.verify
        return self.rule.verify


class Sampled(Struct, frozen=True):
    """Holds what one sampled event comes to."""

    checks: list[Check]
    unreadable: list[str]  # rules whose field the event lacks
    rejected: list[str]  # rules that reject it


class Sampler:
    """Chooses events of applied batches, the last ones first: nothing later in the same batch can
    then be newer than what is checked."""

    def __init__(
        self,
        share: float,
        per_second: float,
        max_event_bytes: int,
        names: Names,
        daemon: str,
        *,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share
        self._per_second = per_second
        self._largest = max_event_bytes
        self._names = names
        self._daemon = daemon
        self._chance = chance
        self._clock = clock
        self._allowed, self._then = per_second, clock()

    def take(self, work: Work, now: float) -> Iterator[Sampled]:
        """Yield the sampled events of a batch, the newest of each slice first."""
        for part in work.batch.slices:
            if part.refused is None:
                wanted = int(len(part.values) * self._share + self._chance())
                for index in range(len(part.values) - 1, -1, -1)[: self._granted(wanted)]:
                    yield from self._sampled(part.record(index), work, now)

    def newest(self, work: Work, names: Collection[Name], now: float) -> Iterator[Sampled]:
        """Yield the newest events of a batch that give these names, as far as they are found."""
        left = set(names)
        for record in _newest_first(work.batch):
            if not left or not self._granted(1):
                return
            for sampled in self._sampled(record, work, now):
                found = [check for check in sampled.checks if check.name in left]
                left -= {check.name for check in found}
                if found:
                    yield Sampled(found, [], [])

    def _granted(self, wanted: int) -> int:
        now = self._clock()
        earned = (now - self._then) * self._per_second
        self._allowed, self._then = min(self._per_second, self._allowed + earned), now
        granted = min(wanted, int(self._allowed))
        self._allowed -= granted
        return granted

    def _sampled(self, record: Record, work: Work, now: float) -> Iterator[Sampled]:
        rules = work.rules
        for explained in rules.explain_events(record, max_event_bytes=self._largest):
            sampled = Sampled([], [], [])
            for verdict in explained.verdicts:
                if verdict.rule in rules.verified and verdict.matched:
                    self._add(sampled, explained, verdict, work, now)
            yield sampled

    def _add(
        self, sampled: Sampled, explained: Explanation, verdict: Verdict, work: Work, now: float
    ) -> None:
        verify, event = work.rules.verified[verdict.rule], explained.event
        if verdict.fault or event is None:
            sampled.rejected.append(verdict.rule)
            return
        try:
            expected = expected_of(verify, event.data)
        except Unreadable:
            sampled.unreadable.append(verdict.rule)
            return
        trace = self._trace(explained, work, now)
        rule = _rule(work.rules, verdict.rule)
        for name in dict.fromkeys((n.cache, n.kind, n.name) for n in verdict.names):
            if work.rules.caches[name[0]].at_edge:
                continue  # its entries cannot be read
            sampled.checks.append(
                Check(
                    name,
                    rule,
                    work.rules.caches[name[0]],
                    work.rules.caches,
                    expected,
                    trace,
                    self._names.shown(name[2], explained.record),
                    "",
                    began=now,
                )
            )

    def _trace(self, explained: Explanation, work: Work, now: float) -> Trace:
        record, event = explained.record, explained.event
        assert event
        return Trace(
            event.type,
            event.id,
            record.source,
            record.origin,
            record.position,
            None if record.time_ms is None else record.time_ms / 1000,
            work.seen.read_at,
            now,
            self._daemon,
            work.rules.hash,
        )


def _rule(rules: RuleSet, name: str) -> Rule:
    return next(rule for rule in rules.rules if rule.name == name)


def _newest_first(batch: Batch) -> Iterator[Record]:
    for part in batch.slices:
        if part.refused is None:
            for index in islice(range(len(part.values) - 1, -1, -1), SEARCHED):
                yield part.record(index)
