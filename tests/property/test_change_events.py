"""Change events have a fast path and a slow one: both must plan the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from invalidator.model import Plan
from invalidator.rules import RuleSet
from invalidator.rules.envelope import WholeRows
from invalidator.rules.envelope.rows import PLACEHOLDER
from tests.property.test_rules import made
from tests.unit.rules.conftest import plan, slow_path

AROUND = "e:{event.source}:{event.id?}:{x}"
RULES = made(
    json.dumps(
        {
            "rules": [
                {"name": "plain", "on": "t.*", "invalidate": {"keys": ["a:{x}", "b:{y?}"]}},
                {
                    "name": "asks",
                    "on": ["t.updated", "t.deleted"],
                    "when": 'changed("x") || y == "v"',
                    "invalidate": {"tags": ["c:{y}"], "patterns": ["p:{x}:*"]},
                },
                {"name": "rows", "on": "t.updated", "invalidate": {"keys": ["o:{before.x}:{x}"]}},
                {"name": "around", "on": "t.*", "invalidate": {"keys": [AROUND]}},
                {"name": "lists", "on": "t.created", "invalidate": {"keys": ["l:{z[]}"]}},
                {"name": "snapshot", "on": "t.read", "invalidate": {"versions": ["v"]}},
            ]
        }
    )
)
VALUES = st.sampled_from(["v", "w", "", None, 7, 1, True, 1.5, PLACEHOLDER, ["v"], {"v": 1}])
ROWS = st.none() | st.dictionaries(st.sampled_from("xyz"), VALUES) | st.just('{"x": "v"}')
BODIES = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["c", "u", "d", "r", "t", "m", "q", 1]),
        "source": st.just({"table": "t"}) | st.sampled_from([{}, None, {"collection": "t"}]),
    },
    optional={
        "before": ROWS,
        "after": ROWS,
        "id": st.just("e"),
        "ts_ms": st.just(1),
        "type": st.sampled_from(["t.created", "invalidator.gap"]),
    },
)
EVENTS = BODIES | BODIES.map(lambda body: {"schema": {}, "payload": body})


def outcome(made: Plan) -> Plan:
    """Return a rejection without its record, for comparison."""
    rejections = [replace(entry, record=None) for entry in made.rejections]
    return replace(made, rejections=rejections)


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_the_quick_way_plans_what_the_exact_one_does(events: list[dict[str, Any]]) -> None:
    quickly = outcome(planned(RULES, events))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WholeRows, "read", lambda *_, **__: None)
        exact = outcome(planned(RULES, events))
    assert quickly == exact


def planned(rules: RuleSet, events: list[dict[str, Any]]) -> Plan:
    first = {"op": "c", "source": {"table": "none"}, "after": {}}  # those behind it are read so
    return plan(rules, first, *events, key=b'{"x": "v"}')


def test_whole_rows_take_the_fast_path() -> None:
    """Otherwise all of this would prove nothing."""
    row = {"x": "v", "y": "w", "z": ["1"]}
    source = {"table": "t"}
    events: list[dict[str, Any]] = [
        {"op": "c", "source": source, "before": None, "after": row},
        {"op": "u", "source": source, "before": row, "after": {**row, "x": "n"}},
        {"op": "d", "source": source, "before": row, "after": None},
    ]
    with slow_path(RULES) as exactly:
        assert not planned(RULES, events).rejections
    assert exactly == [0]
