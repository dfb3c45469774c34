"""Gaps: what a source may have missed, as events that rules can name."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from invalidator.model import Batch, Fault, Record, Slice
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.sources.gap import Gaps
from tests.unit.rules.conftest import LIMIT, faults, names, plan

Rules = Callable[[str], RuleSet]

ON_GAP = "- {name: gap, on: invalidator.gap, invalidate: {versions: ['{channel}']}}"
WIDE = """
  - {name: any, on: "**", invalidate: {keys: any}}
  - {name: one, on: "*.gap", invalidate: {keys: one}}
  - {name: all, on: "invalidator.*", invalidate: {keys: all}}
"""


def gaps(source: str = "pubsub") -> Gaps:
    return Gaps(source, now=lambda: 1700000000.0, clock=lambda: 100.0)


def batch(told: Gaps) -> Batch:
    return Batch("pubsub", [], 0, 0, None, told.take())


def test_a_gap_is_one_event_for_each_origin() -> None:
    told = gaps()
    told.report("reconnected", ["orders", "items:*"], since=97.5)
    parts = told.take()
    assert [part.origin for part in parts] == ["orders", "items:*"]
    event = orjson.loads(parts[1].values[0] or b"")
    assert event.pop("id")
    assert event == {
        "type": "invalidator.gap",
        "time": "2023-11-14T22:13:20.000+00:00",
        "data": {
            "source": "pubsub",
            "channel": "items:*",
            "channels": ["orders", "items:*"],
            "cause": "reconnected",
            "seconds": 2.5,
            "events": None,
        },
    }
    record = parts[1].record(0)
    assert (record.source, record.origin, record.raw) == ("pubsub", "items:*", parts[1].values[0])
    assert not told
    assert told.take() == []


def test_a_gap_is_said_and_counted_at_once() -> None:
    counted = metrics.GAPS.labels("stream", "trimmed")
    missed = metrics.MISSED.labels("stream")
    before = counted._value.get(), missed._value.get()
    with capture_logs() as logs:
        gaps("stream").report("trimmed", ["orders"], events=3, first="1-0")
        gaps("stream").report("start", ["orders"])
    assert logs[0] == {
        "event": "source-gap",
        "log_level": "warning",
        "source": "stream",
        "cause": "trimmed",
        "channels": ["orders"],
        "lost": 3,
        "first": "1-0",
    }
    assert logs[1]["log_level"] == "info"  # every start of a pub/sub reader is one
    assert (counted._value.get(), missed._value.get()) == (before[0] + 1, before[1] + 3)


def test_what_is_told_again_before_it_is_taken_is_one_gap_from_the_first_moment_on() -> None:
    told = gaps()
    told.report("overflow", ["orders"], since=90.0, events=2)
    told.report("overflow", ["orders"], since=99.0, events=5)
    told.report("reconnected", ["orders"])
    data = [orjson.loads(part.values[0] or b"")["data"] for part in told.take()]
    assert [(d["cause"], d["seconds"], d["events"]) for d in data] == [
        ("overflow", 10.0, 7),
        ("reconnected", None, None),
    ]


def test_only_a_rule_that_names_it_outright_hears_of_a_gap(rules: Rules) -> None:
    told = gaps()
    told.report("start", ["orders"])
    made = rules(f"rules:\n  {ON_GAP}{WIDE}").plan(batch(told), max_event_bytes=LIMIT)
    assert names(made).versions == {"orders"}
    assert names(made).keys == set()


def test_a_table_of_our_name_is_like_any_other(rules: Rules) -> None:
    change = {"op": "c", "source": {"table": "invalidator"}, "after": {"id": 1}}
    ruleset = rules("rules:\n  - {name: r, on: '*.created', invalidate: {keys: 'k:{id}'}}")
    assert names(plan(ruleset, change, {**change, "after": {"id": 2}})).keys == {"k:1", "k:2"}


def test_a_gap_that_no_rule_names_is_no_unmatched_event(rules: Rules) -> None:
    told = gaps()
    told.report("start", ["orders"])
    made = rules("rules:" + WIDE).plan(batch(told), max_event_bytes=LIMIT)
    assert (made.unmatched, made.rejections) == (0, [])
    assert not any(found.count() for found in made.caches.values())


@pytest.mark.parametrize(
    "envelope",
    [
        "{format: debezium}",
        "{format: cloudevents}",
        "{type: kind, data: payload}",
        "{type: '{table}:{op}'}",
        "{sources: {'orders*': {type: kind}}}",
    ],
)
def test_a_gap_is_read_whatever_the_envelope_of_its_source(rules: Rules, envelope: str) -> None:
    told = gaps()
    told.report("start", ["orders"])
    ruleset = rules(f"envelope: {envelope}\nrules:\n  {ON_GAP}{WIDE}")
    made = ruleset.plan(batch(told), max_event_bytes=LIMIT)
    assert names(made).versions == {"orders"}
    assert (made.unmatched, made.rejections) == (0, [])


@pytest.mark.parametrize(
    ("source", "heard"),
    [("orders", True), ("items:eu", True), ("items:*", True), ("*", True), ("users", False)],
)
def test_a_rule_for_one_channel_hears_of_the_gaps_of_that_channel(
    rules: Rules, source: str, heard: bool
) -> None:
    told = gaps()
    told.report("reconnected", ["orders", "items:*"])
    rule = ON_GAP.replace("name: gap,", f"name: gap, source: '{source}',").replace(
        "['{channel}']", "seen"
    )
    made = rules(f"rules:\n  {rule}").plan(batch(told), max_event_bytes=LIMIT)
    assert names(made).versions == ({"seen"} if heard else set())


def test_an_unknown_length_does_not_keep_a_condition_from_holding(rules: Rules) -> None:
    """A condition that fails applies its rule: too much rather than too little."""
    told = gaps()
    told.report("start", ["orders"])
    rule = ON_GAP.replace("name: gap,", "name: gap, when: seconds > 60.0,")
    made = rules(f"rules:\n  {rule}").plan(batch(told), max_event_bytes=LIMIT)
    assert names(made).versions == {"orders"}


def test_a_gap_that_a_rule_cannot_use_is_a_dead_letter(rules: Rules) -> None:
    told = gaps()
    told.report("start", ["orders"])
    made = rules(f"rules:\n  {ON_GAP.replace('{channel}', '{tenant}')}").plan(
        batch(told), max_event_bytes=LIMIT
    )
    assert faults(made) == [("gap", "missing-field")]


def test_a_gap_may_be_published_to_see_what_rules_do(rules: Rules) -> None:
    event = {"type": "invalidator.gap", "data": {"channel": "orders"}}
    made = plan(rules(f"rules:\n  {ON_GAP}{WIDE}"), event)
    assert names(made).versions == {"orders"}
    assert names(made).keys == set()


def test_rejected_records_are_dead_letters_that_nobody_decodes(rules: Rules) -> None:
    ruleset: Any = rules("rules:" + WIDE)
    record = Record("stream", "orders", "1-0", b'{"type": "t"}')
    fault = Fault("poison", "it ended every process that planned it")
    part = Slice("orders", [record.raw], lambda _: record, refused=fault)
    made = ruleset.plan(Batch("stream", [part], 1, 0, None), max_event_bytes=LIMIT)
    ((rejection,),) = [made.rejections]
    assert (rejection.record, rejection.type, rejection.faults) == (record, None, (fault,))
    assert not made.caches or names(made).keys == set()
    assert list(Batch("stream", [part], 1, 0, None).records()) == []
