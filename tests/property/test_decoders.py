"""Only what rules read is decoded: the plan is the same as for events that are decoded whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from invalidator.model import Plan
from invalidator.rules import RuleSet
from invalidator.rules.envelope import decode_json
from invalidator.rules.plan.decode import MOST, Decoders
from tests.property.test_change_events import outcome
from tests.property.test_rules import VALUES, made
from tests.unit.rules.conftest import plan, slow_path

TEXTS = {
    "fields": """
rules:
  - {name: one, on: "t.*", invalidate: {keys: ["k:{x}", "n:{y.z?}", "l:{items[].n}"]}}
  - {name: two, on: t.updated, when: has(w) && y.z != 5, invalidate: {tags: "g:{x:-none}"}}
""",
    "around": """
rules:
  - name: one
    on: "{kind}.updated"
    invalidate: {keys: ["{match.kind}k:{event.id}", "s:{event.source}:{event.time?}"]}
  - {name: two, on: "{kind}.*", invalidate: {keys: "h:{headers.h?}:{event.key?}:{event.type}"}}
""",
    "rows": """
rules:
  - name: one
    on: t.*
    when: changed("x")
    invalidate: {keys: ["b:{before.x}", "a:{after.y?}"]}
  - {name: two, on: "t.*", when: 'before.x == "v" || data.w == 1', invalidate: {keys: "w:{x?}"}}
""",
    "any": """
rules:
  - {name: one, on: "t.*", when: 'data.exists(name, name == "w")', invalidate: {keys: "k:{x}"}}
""",
    "extensions": """
rules:
  - {name: one, on: "t.*", invalidate: {keys: "e:{event.extensions.tenant?}:{x}"}}
""",
    "elsewhere": """
envelope: {type: kind, data: payload}
rules:
  - {name: one, on: "t.*", invalidate: {keys: ["k:{x}", "p:{payload?}"]}}
""",
    "cloud": """
envelope: {format: cloudevents}
rules:
  - {name: one, on: "t.*", invalidate: {keys: ["k:{x?}", "i:{event.id?}"]}}
""",
}


def exact(text: str) -> RuleSet:
    """Return the same rules with events that are always decoded whole, on the slow path."""
    rules = made(text)
    path = rules.engine("orders").fast_path
    path._ways = dict.fromkeys(path._ways, path._slow)
    return rules


RULES = {name: (made(text), exact(text)) for name, text in TEXTS.items()}
FIELDS = ["x", "y", "w", "items", "id", "source", "time", "before", "after", "tenant", "note", "é"]
SMALL = st.sampled_from(["v", "", 5, 2**70, None, True, {"z": 5}, {"z": "v"}, [{"n": 1}], [1], {}])
OBJECTS = st.dictionaries(st.sampled_from([*FIELDS, "data", "payload"]), SMALL | VALUES, max_size=6)
KINDS = st.sampled_from(["t.updated", "t.created", "u.updated", "", 5, None])
PLAIN = st.builds(
    lambda around, kind, data: {**around, **kind, **data},
    OBJECTS,
    st.fixed_dictionaries({}, optional={"type": KINDS, "kind": KINDS, "specversion": SMALL}),
    st.fixed_dictionaries({}, optional={"data": OBJECTS | SMALL, "payload": OBJECTS | SMALL}),
)
BODIES = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["c", "u", "d", "r", "x"]),
        "source": st.sampled_from([{"table": "t", "db": "d"}, {"collection": "t"}, "t", None]),
    },
    optional={"before": OBJECTS | SMALL, "after": OBJECTS | SMALL, "id": SMALL, "type": KINDS},
)
CHANGES = BODIES | st.builds(lambda body: {"schema": {"a": [1]}, "payload": body}, BODIES)
EVENTS = st.builds(
    lambda event, escaped: json.dumps(event, ensure_ascii=escaped).encode(),
    PLAIN | CHANGES,
    st.booleans(),
)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Cut something out of an event, or put it where it does not belong."""
    raw = draw(EVENTS)
    at = draw(st.integers(0, len(raw)))
    odd = draw(
        st.sampled_from([b"\xff", b"\x00", b'"', b"}", b",", b"[", b"\\", b"9", b"\xed\xa0\x80"])
    )
    return raw[:at] + odd + raw[at + draw(st.integers(0, 2)) :]


@pytest.mark.parametrize("name", TEXTS)
@given(events=st.lists(EVENTS | broken(), min_size=1, max_size=4))
def test_the_plan_is_that_of_whole_events(name: str, events: list[bytes]) -> None:
    narrow, all_of_it = RULES[name]
    assert planned(narrow, events) == planned(all_of_it, events)


@pytest.mark.parametrize("name", ["around", "rows"])
def test_what_stands_around_the_data_is_there_for_rules_that_read_it(name: str) -> None:
    assert RULES[name][0].engine("orders").fast_path.decoders.apart is None


ROW = {"x": "v", "y": "w", "w": 1, "items": [{"n": 1}]}
TOLD_BY = [  # what decides about an event beside what names are made of
    b'{"type": "t.updated", "kind": "t.updated", "note": "\xff", "x": 1, "items": []}',
    b'{"type": "t.updated", "x": 1, "items": [], "data": {"x": 1, "items": [], "\xff": 1}}',
    {"type": "t.created", "specversion": "1.0", "data": "text", **ROW},
    {"type": "t.created", "specversion": "1.0", "tenant": "a", "data": ROW},
    {"type": "t.updated", "data": {**ROW, "before": {"x": "o"}, "after": ROW}},
    {"type": "t.updated", "before": {"x": "o"}, "after": ROW, "data": ROW},
    {"kind": "t.updated", "payload": ROW, "data": {"x": "other"}},
    {"type": "t.created", "op": "c", "source": {"table": "t"}, "after": ROW},
    {"kind": "t.created", "op": "c", "source": {"table": "t"}, "after": ROW},
    {"type": "t.created", "data": ROW, "op": "c", "source": {"table": "t"}, "after": {"x": "o"}},
    {"type": "invalidator.gap", "data": {}, "op": "c", "source": {"table": "t"}, "after": ROW},
    {"kind": "t.updated", "type": "invalidator.gap", "data": {}, "payload": ROW},
    {"type": "t.updated", "data_base64": "eyJ4IjogNX0=", "x": 6},
    {"id": "i", "op": "u", "source": {"table": "t"}, "before": ROW, "after": {**ROW, "x": "n"}},
    {"op": "u", "source": {"table": "t"}, "before": ROW, "after": {**ROW, "new": "n"}},
    {"op": "u", "source": {"table": "t"}, "before": {}, "after": ROW},
    {"op": "d", "source": {"table": "t"}, "before": {**ROW, "note": None}, "after": None},
    {"op": "d", "source": {"table": "t"}, "before": {**ROW, "x": None}, "after": None},
    {"op": "c", "schema": {}, "payload": {"op": "c", "source": {"table": "t"}, "after": ROW}},
    {"schema": {}, "payload": {"op": "c", "source": {"table": "t"}, "after": ROW}},
    {"schema": {}, "payload": None},
    b'{"type": "t.updated", "kind": "t.updated", "payload": {"x": 1}, "x": 1, "note": 1e400}',
    b'{"type": "t.updated", "kind": "t.updated", "payload": {"x": 1e400}, "x": 1e400}',
    {"op": "c", "source": "t", "after": ROW},
    {"op": "c", "source": {"table": "t"}, "after": json.dumps(ROW)},
]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("event", TOLD_BY, ids=range(len(TOLD_BY)))
def test_nothing_that_decides_is_passed_over(name: str, event: bytes | dict[str, Any]) -> None:
    narrow, all_of_it = RULES[name]
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    assert planned(narrow, [raw]) == planned(all_of_it, [raw])


def planned(rules: RuleSet, events: list[bytes]) -> list[Plan]:
    """Check plain events, and those that follow a change event."""
    change = {"op": "c", "source": {"table": "none"}, "after": {}}
    return [
        outcome(plan(rules, *some, key=b"k", headers=[("h", b"v")]))
        for some in (events, [change, *events])
    ]


def test_what_rules_do_not_read_is_not_decoded() -> None:
    """Otherwise all of this would prove nothing."""
    event = {"type": "t.updated", "note": "n", "data": {"x": "v", "note": "n", "y": {"z": 1}}}
    decoders = made(TEXTS["fields"]).engine("orders").fast_path.decoders
    raw = json.dumps(event).encode()
    data = {"x": "v", "y": {"z": 1}}
    assert decoders.plain(raw) == {"type": "t.updated", "data": data}
    assert decoders.apart
    assert structs.asdict(decoders.apart(raw)) == {"kind": "t.updated", "data": data}
    row = {"x": "v", "note": "n"}
    change = {
        "op": "u",
        "before": row,
        "after": row,
        "source": {"table": "t", "db": "d"},
        "more": 1,
    }
    decoded = (
        made(TEXTS["rows"]).engine("orders").fast_path.decoders.change(json.dumps(change).encode())
    )
    assert decoded == {
        "op": "u",
        "before": {"x": "v"},
        "after": {"x": "v"},
        "source": {"table": "t"},
    }


@pytest.mark.parametrize(
    "text",
    [
        TEXTS["any"],
        "\n".join(
            [
                "rules:",
                *(
                    f'  - {{name: r{at}, on: t, invalidate: {{keys: "k:{{f{at}}}"}}}}'
                    for at in range(MOST + 1)
                ),
            ]
        ),
    ],
)
def test_rules_that_read_anything_or_very_much_get_whole_events(text: str) -> None:
    found = made(text).engine("orders").fast_path.decoders
    assert found == Decoders(decode_json, decode_json)


APART = b'{"type": "t.created", "data": {"x": "\xc3\xa9", "items": [{"n": 1}]}}'
ESCAPED = b'{"\\u0074ype": "t.created", "data": {"\\u0078": 1, "items": []}}'
FLAT = b'{"type": "t.created", "x": 1, "items": []}'
TEXT = b'{"type": "t.created", "data": "text", "x": 1, "items": []}'
CHANGE = b'{"op": "c", "source": {"table": "t"}, "after": {"x": 1, "items": []}}'


@pytest.mark.parametrize(
    ("events", "longer"),
    [
        ([APART, ESCAPED, APART], []),
        ([FLAT, TEXT, APART, FLAT], [0]),
        ([CHANGE, CHANGE], [0]),
        ([APART, CHANGE, CHANGE, FLAT, APART], [1, 3]),
        ([APART, b"no JSON", APART], [1]),
        ([APART, None, APART], [1]),
    ],
)
def test_only_the_first_event_of_another_form_takes_the_slow_path(
    events: list[bytes | None], longer: list[int]
) -> None:
    """Otherwise all of this would prove nothing."""
    rules = RULES["fields"][0]
    with slow_path(rules) as taken:
        assert plan(rules, *events).caches["default"].keys
    assert taken == longer
