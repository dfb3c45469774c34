"""A template that never hits anything is reported once, at a bounded price."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from invalidator.errors import Unavailable
from invalidator.model import Application, Batch, Cause, Names, Record, Slice
from invalidator.pipeline.samples import NAMES, PATTERNS, Hits, Sampler
from invalidator.rules import Cache, RuleSet
from tests.integration.piping import event, rules_from

LARGEST = 100_000
RULES = """
caches:
  default: {tags: [{layout: set}, {layout: stamp}]}
rules:
  - {name: right, on: changed, invalidate: {keys: ["order:{id}"]}}
  - {name: wrong, on: changed, invalidate: {keys: ["ordr:{id}"], tags: ["t{id}"]}}
  - {name: list, on: listed, invalidate: {patterns: ["list:{id}:*"]}}
"""


@dataclass
class Sweep:
    matched: set[str]
    done: bool = False

    def hit(self, pattern: str) -> bool | None:
        return pattern in self.matched if self.done else None


@dataclass(eq=False)
class Cupboard:
    """A cache that has what begins so, and takes its time."""

    has: tuple[str, ...] = ("order:",)
    seconds: float = 0.001
    now: float = 0.0
    away: bool = False
    asked: list[list[str]] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    watched: list[list[str]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def application(
        self, names: Mapping[str, Names], caches: Mapping[str, Cache], cause: Cause
    ) -> Application:
        raise AssertionError

    def home(self, cache: str, caches: Mapping[str, Cache]) -> "Cupboard":
        return self

    async def present(self, keys: Sequence[str]) -> list[bool | None]:
        self.now += self.seconds
        if self.away:
            raise Unavailable("cupboard", "away")
        self.asked.append(list(keys))
        return [key.startswith(self.has) for key in keys]

    def watch(self, patterns: Collection[str]) -> Sweep:
        self.watched.append(list(patterns))
        self.sweeps.append(Sweep(set()))
        return self.sweeps[-1]


def batch(*values: bytes) -> Batch:
    """Half of them from another partition."""
    half = len(values) // 2
    slices = [_slice(values[:half]), _slice(values[half:])]
    return Batch("memory", slices, len(values), sum(map(len, values)), None)


def _slice(values: Sequence[bytes]) -> Slice:
    return Slice("t", list(values), lambda at: Record("memory", "t", str(at), values[at]))


def changed(count: int, start: int = 0) -> Batch:
    return batch(*(event("changed", id=at) for at in range(start, start + count)))


@pytest.fixture
def rules(tmp_path: Path) -> RuleSet:
    return rules_from(RULES, tmp_path)


@pytest.fixture
def cupboard() -> Cupboard:
    return Cupboard()


@pytest.fixture
def hits(cupboard: Cupboard) -> Hits:
    return Hits(cupboard, enough=100, clock=cupboard.clock, chance=random.Random(1))


async def look(hits: Hits, cupboard: Cupboard, rules: RuleSet, *batches: Batch) -> None:
    """Each of them when the next look is due."""
    for each in batches:
        cupboard.now += 60
        await look_up(hits, each, rules)


async def look_up(hits: Hits, batch: Batch, rules: RuleSet) -> None:
    sample = Sampler(LARGEST, random.Random(1)).take(batch, rules)
    await hits.look_up(sample.aimed, rules)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_template_that_never_hit_is_told_of_once_and_others_are_not(
    hits: Hits, cupboard: Cupboard, rules: RuleSet
) -> None:
    with capture_logs() as logs:
        await look(hits, cupboard, rules, *(changed(15, at * 15) for at in range(6)))
        assert logs == []
        await look(hits, cupboard, rules, *(changed(15, at * 15) for at in range(6, 80)))
    told = {(entry["event"], entry["rule"], entry["template"]) for entry in logs}
    assert told == {("never-hit", "wrong", "ordr:{id}"), ("never-hit", "wrong", "t{id}")}
    assert len(logs) == 2
    assert count("invalidator_rule_templates_never_hit", rule="wrong") == 2


async def test_names_and_those_that_were_there_are_counted_for_each_rule(
    hits: Hits, cupboard: Cupboard, rules: RuleSet
) -> None:
    names = "invalidator_sampled_names_total"
    there = "invalidator_sampled_names_existed_total"
    labels = [{"rule": rule, "kind": "keys"} for rule in ("right", "wrong")]
    before = [(count(names, **each), count(there, **each)) for each in labels]
    await look(hits, cupboard, rules, changed(10))
    after = [(count(names, **each), count(there, **each)) for each in labels]
    gained = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)]
    assert gained == [(10, 10), (10, 0)]


async def test_a_template_that_hits_after_all_takes_its_warning_back(
    hits: Hits, cupboard: Cupboard, rules: RuleSet
) -> None:
    await look(hits, cupboard, rules, *(changed(15) for _ in range(10)))
    cupboard.has = ("order:", "ordr:")
    await look(hits, cupboard, rules, changed(30))
    assert count("invalidator_rule_templates_never_hit", rule="wrong") == 1


async def test_changed_rules_are_counted_anew(
    hits: Hits, cupboard: Cupboard, rules: RuleSet, tmp_path: Path
) -> None:
    await look(hits, cupboard, rules, *(changed(15) for _ in range(10)))
    better = rules_from(RULES.replace("ordr:", "order:").replace("t{id}", "order:{id}"), tmp_path)
    cupboard.has += ("tag:order:",)
    with capture_logs() as logs:
        await look(hits, cupboard, better, *(changed(15) for _ in range(10)))
    assert logs == []
    assert count("invalidator_rule_templates_never_hit", rule="wrong") == 0


async def test_a_pattern_is_judged_by_the_sweep_that_served_it(
    hits: Hits, cupboard: Cupboard, rules: RuleSet
) -> None:
    with capture_logs() as logs:
        for at in range(110):
            await look(hits, cupboard, rules, batch(event("listed", id=at), event("listed", id=at)))
            cupboard.sweeps[-1].done = True
    assert [(entry["rule"], entry["kind"]) for entry in logs] == [("list", "patterns")]
    assert cupboard.watched[0] == ["list:0:*"]


async def test_one_sweep_is_watched_at_a_time_and_a_few_patterns_in_it(
    hits: Hits, cupboard: Cupboard, rules: RuleSet
) -> None:
    many = batch(*(event("listed", id=at) for at in range(50)))
    await look(hits, cupboard, rules, many, many)
    assert [len(patterns) for patterns in cupboard.watched] == [PATTERNS]
    cupboard.sweeps[0].done = True
    await look(hits, cupboard, rules, many)
    assert len(cupboard.watched) == 2


async def test_a_look_takes_a_fixed_share_of_the_time(cupboard: Cupboard, rules: RuleSet) -> None:
    hits = Hits(cupboard, share=0.01, clock=cupboard.clock, chance=random.Random(1))
    cupboard.now, cupboard.seconds = 100.0, 0.5
    for tenth in range(2000):
        cupboard.now = max(cupboard.now, 100 + tenth / 10)
        await look_up(hits, changed(30), rules)
    assert len(cupboard.asked) == 4, "half a second each, in 200 seconds"


async def test_a_large_event_costs_no_more_than_its_share_of_names(
    hits: Hits, cupboard: Cupboard, tmp_path: Path
) -> None:
    wide = 'rules: [{name: w, on: changed, invalidate: {keys: ["w:{ids[]}"]}}]'
    rules = rules_from(wide, tmp_path)
    too_large = event("changed", ids=[1], pad="x" * LARGEST)  # rejected without a look
    await look(hits, cupboard, rules, batch(too_large))
    assert cupboard.asked == []
    await look(hits, cupboard, rules, batch(event("changed", ids=list(range(5000)))))
    assert [len(keys) for keys in cupboard.asked] == [NAMES]


async def test_a_cache_that_is_away_and_events_that_are_broken_are_for_others_to_tell(
    hits: Hits, cupboard: Cupboard, rules: RuleSet
) -> None:
    cupboard.away = True
    with capture_logs() as logs:
        await look(hits, cupboard, rules, changed(3))
        cupboard.away = False
        await look(hits, cupboard, rules, batch(b"not json", event("changed"), event("other")))
    assert (logs, cupboard.asked) == ([], [])
