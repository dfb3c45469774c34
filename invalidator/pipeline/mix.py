"""What kinds of events flow, and which rules they meet: told from a few of each batch.

The hot path counts nothing. Up to 16 records of a batch are planned once more, one by one, and
stand for all of it. Each takes as long as ten on the hot path: where small batches are many, the
sample of one stands for the next ones, too. Below 100 events a second nothing is guessed.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from invalidator.model import Batch, Record, Slice
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.metrics import Bounded

SAMPLE: Final = 16  # records of a batch
PER_SECOND: Final = 100

Types = Mapping[str, float]  # how many events of each, about

_RULES: Final = Bounded()
_TYPES: Final = Bounded()


def type_label(rules: RuleSet, kind: str | None) -> str:
    """A type as a label: as the rules write it, and never as an event does."""
    found = rules.written(kind) if kind else None
    return _TYPES.of(found) if found else metrics.OTHER


class Sample(Struct, frozen=True):
    """What was told from a few records."""

    size: int = 0  # how many
    types: Types = {}  # of the events that no rule rejected
    events: Mapping[str, int] = {}  # by rule
    names: Mapping[tuple[str, str], int] = {}  # by rule and kind


class Mix:
    """Of one source's batches."""

    def __init__(
        self,
        max_event_bytes: int,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._largest = max_event_bytes  # others are rejected without a look
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._clock = clock
        self._allowed = float(PER_SECOND)  # records that may be looked at, as of then
        self._then = clock()
        self._last = Sample()

    def count(self, batch: Batch, rules: RuleSet) -> Types:
        """The types of the events that no rule rejected; counts for each rule on the way."""
        total = sum(len(part.values) for part in _open(batch))
        if not total:
            return {}
        if most := self._share(total):
            self._last = self._look(some(batch, most, self._chance), rules)
        weight = total / self._last.size
        for rule, count in self._last.events.items():
            metrics.RULE_EVENTS.labels(_RULES.of(rule)).inc(count * weight)
        for (rule, kind), count in self._last.names.items():
            metrics.RULE_NAMES.labels(_RULES.of(rule), kind).inc(count * weight)
        return self._last.types

    def _share(self, total: int) -> int:
        """How many of a batch's records are looked at; none where the last sample has to do."""
        now = self._clock()
        earned = (now - self._then) * PER_SECOND
        self._allowed, self._then = min(PER_SECOND, self._allowed + earned), now
        share = min(SAMPLE, total, int(self._allowed))
        self._allowed -= share
        return share

    def _look(self, records: Iterable[Record], rules: RuleSet) -> Sample:
        size = 0
        types: Counter[str] = Counter()
        events: Counter[str] = Counter()
        names: Counter[tuple[str, str]] = Counter()
        for record in records:
            size += 1
            met = list(rules.met(record, max_event_bytes=self._largest))
            if met and not any(ruling.fault for _, _, ruling in met):
                types[type_label(rules, met[0][0])] += 1
            for _, rule, ruling in met:
                if ruling.applies and not ruling.fault:
                    events[rule] += 1
                    names.update((rule, name.kind) for name in ruling.names)
        return Sample(size, types, events, names)


def some(batch: Batch, most: int, chance: random.Random) -> Iterator[Record]:
    """A few of its records, from all its slices that rules may look at."""
    parts = _open(batch)
    total = sum(len(part.values) for part in parts)
    picked = sorted(chance.sample(range(total), min(most, total)), reverse=True)
    before = 0
    for part in parts:
        while picked and picked[-1] < before + len(part.values):
            yield part.record(picked.pop() - before)
        before += len(part.values)


def _open(batch: Batch) -> list[Slice]:
    return [part for part in batch.slices if part.refused is None]
