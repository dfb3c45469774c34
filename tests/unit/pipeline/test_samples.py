"""A sample stands for its batch, and metrics never repeat an event's own words."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from invalidator.model import Batch, Fault, Record, Slice
from invalidator.pipeline.samples import PER_SECOND, SAMPLE, Sampler, type_label
from invalidator.rules import RuleSet
from invalidator.runtime.metrics import Bounded
from tests.integration.piping import LIMITS, event, rules_from

RULES = """
rules:
  - {name: mix-one, on: [order.paid, "order.{what}"], invalidate: {keys: ["o:{id}", "p:{id}"]}}
  - {name: mix-two, on: order.paid, when: data.big, invalidate: {tags: ["t{id}"]}}
  - {name: mix-wild, on: "user.**", invalidate: {patterns: ["u:{id}:*"]}}
"""


@pytest.fixture
def rules(tmp_path: Path) -> RuleSet:
    return rules_from(RULES, tmp_path)


def batch_of(values: Sequence[bytes], refused: Fault | None = None) -> Batch:
    part = Slice(
        "t", list(values), lambda at: Record("mix", "t", str(at), values[at]), refused=refused
    )
    return Batch("mix", [part], len(values), 0, None)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"invalidator_{name}_total", labels) or 0.0


def test_in_a_small_batch_nothing_is_guessed(rules: RuleSet) -> None:
    before = {
        rule: (counted("rule_events", rule=rule), counted("rule_names", rule=rule, kind=kind))
        for rule, kind in (("mix-one", "keys"), ("mix-two", "tags"), ("mix-wild", "patterns"))
    }
    values = [
        event("order.paid", id=1, big=True, pad="x" * LIMITS.event_bytes),  # rejected unseen
        event("order.paid", id=1, big=True),
        event("order.paid", id=2, big=False),
        event("order.sent", id=3),
        event("user.a.b", id=4),
        event("user.a.b"),  # rejected: it has no id
        event("nobody.knows", id=5),
        b"no json",
    ]
    types = Sampler(LIMITS.event_bytes).take(batch_of(values), rules).types
    assert types == {"order.paid": 2, "order.{what}": 1, "user.**": 1}
    after = {
        "mix-one": (
            counted("rule_events", rule="mix-one") - before["mix-one"][0],
            counted("rule_names", rule="mix-one", kind="keys") - before["mix-one"][1],
        ),
        "mix-two": (
            counted("rule_events", rule="mix-two") - before["mix-two"][0],
            counted("rule_names", rule="mix-two", kind="tags") - before["mix-two"][1],
        ),
        "mix-wild": (
            counted("rule_events", rule="mix-wild") - before["mix-wild"][0],
            counted("rule_names", rule="mix-wild", kind="patterns") - before["mix-wild"][1],
        ),
    }
    assert after == {"mix-one": (3, 6), "mix-two": (1, 1), "mix-wild": (1, 1)}


def test_a_large_batch_is_estimated_from_a_sample(rules: RuleSet) -> None:
    before = counted("rule_events", rule="mix-one")
    values = [event("order.sent", id=n) for n in range(SAMPLE * 100)]
    Sampler(LIMITS.event_bytes, random.Random(1)).take(batch_of(values), rules)
    assert counted("rule_events", rule="mix-one") - before == SAMPLE * 100


def test_of_many_small_batches_fewer_events_are_looked_at(rules: RuleSet) -> None:
    now = [0.0]
    sampler = Sampler(LIMITS.event_bytes, random.Random(1), lambda: now[0])
    few = batch_of([event("order.sent", id=n) for n in range(SAMPLE)])
    before = counted("rule_events", rule="mix-one")
    looked = [sum(sampler.take(few, rules).types.values()) for _ in range(100)]
    share, rest = divmod(PER_SECOND, SAMPLE)
    assert looked == [SAMPLE] * share + [rest] * (100 - share)  # the last sample stands for all
    assert counted("rule_events", rule="mix-one") - before == pytest.approx(SAMPLE * 100)
    others = batch_of([event("order.paid", id=n) for n in range(SAMPLE)])
    assert sampler.take(others, rules).types == {"order.{what}": rest}
    now[0] += 1
    assert sampler.take(others, rules).types == {"order.paid": SAMPLE}


def test_records_that_must_not_be_decoded_are_not_sampled(rules: RuleSet) -> None:
    refused = Fault("unreadable-batch", "its source could not read it")
    batch = batch_of([event("order.paid", id=1)], refused)
    assert Sampler(LIMITS.event_bytes).take(batch, rules).size == 0


def test_the_names_of_a_sample_are_looked_up_once(rules: RuleSet) -> None:
    sampler = Sampler(LIMITS.event_bytes, clock=lambda: 0.0)
    batch = batch_of([event("order.sent", id=1), event("order.sent", id=1)])
    samples = [sampler.take(batch, rules) for _ in range(PER_SECOND)]
    assert [name.name for _, name in samples[0].aimed] == ["o:1", "p:1"]
    assert samples[-1].types == samples[0].types
    assert samples[-1].aimed == ()


def test_a_type_is_a_label_only_as_rules_write_it(rules: RuleSet) -> None:
    assert type_label(rules, "order.paid") == "order.paid"
    assert type_label(rules, "user.secret-name.x") == "user.**"
    assert type_label(rules, "nobody.knows") == "other"
    assert type_label(rules, None) == "other"


def test_a_label_has_a_bounded_number_of_values() -> None:
    bounded = Bounded(2)
    assert [bounded.of(value) for value in ("a", "b", "c", "a")] == ["a", "b", "other", "a"]
