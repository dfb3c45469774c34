"""A share of the events is sampled, within a bound."""

from pathlib import Path

import pytest

from invalidator.freshness.findings import Names
from invalidator.freshness.sampling import Sampler
from invalidator.model import Batch, Record, Slice
from invalidator.pipeline.samples import Sample
from invalidator.pipeline.work import Seen, Work
from invalidator.rules import RuleSet
from tests.integration.piping import event, rules_from

RULES = """
rules:
  - name: order
    on: order.updated
    invalidate: {keys: ["order:{id}"]}
    verify: {cached: v, event: v}
"""


@pytest.fixture
def rules(tmp_path: Path) -> RuleSet:
    return rules_from(RULES, tmp_path)


def work(rules: RuleSet, events: int) -> Work:
    values: list[bytes | None] = [event(id=number, v=1) for number in range(events)]
    part = Slice("t", values, lambda i: Record("memory", "t", str(i), values[i]))
    batch = Batch.of("memory", [part], None)
    plan = rules.plan(batch, max_event_bytes=10_000)
    return Work(batch, rules, plan, plan.names, Sample(), Seen([], {}, None), 0.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def names_of(sampler: Sampler, one: Work) -> list[str]:
    return [check.name[2] for taken in sampler.take(one, 0.0) for check in taken.checks]


def test_the_last_events_of_a_batch_are_taken_the_newest_first(rules: RuleSet) -> None:
    sampler = Sampler(0.01, 100, 10_000, Names(()), "d", chance=lambda: 0.0)
    assert names_of(sampler, work(rules, 200)) == ["order:199", "order:198"]


def test_small_batches_are_sampled_by_chance(rules: RuleSet) -> None:
    chances = iter([0.98, 0.995])
    sampler = Sampler(0.01, 100, 10_000, Names(()), "d", chance=lambda: next(chances))
    assert names_of(sampler, work(rules, 1)) == []
    assert names_of(sampler, work(rules, 1)) == ["order:0"]


def test_no_more_than_the_bound_are_taken_in_a_second(rules: RuleSet) -> None:
    clock = Clock()
    sampler = Sampler(1.0, 10, 10_000, Names(()), "d", chance=lambda: 0.0, clock=clock)
    assert len(names_of(sampler, work(rules, 50))) == 10
    assert names_of(sampler, work(rules, 50)) == []
    clock.now += 0.5
    assert len(names_of(sampler, work(rules, 50))) == 5


def test_a_share_of_nothing_takes_nothing(rules: RuleSet) -> None:
    sampler = Sampler(0.0, 10, 10_000, Names(()), "d", chance=lambda: 0.999)
    assert names_of(sampler, work(rules, 50)) == []


def test_pages_at_the_edge_are_not_sampled(tmp_path: Path) -> None:
    caches = "caches: {pages: {target: varnish, prefix: /}}"
    rules = rules_from(
        caches + RULES.replace("    verify:", "    cache: pages\n    verify:"), tmp_path
    )
    sampler = Sampler(1.0, 100, 10_000, Names(()), "d")
    assert names_of(sampler, work(rules, 3)) == []
