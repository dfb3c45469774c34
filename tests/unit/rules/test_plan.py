"""Planning: raw records give deduplicated names, bad ones are rejected."""

import json
from pathlib import Path
from typing import Any

import pytest

from invalidator.errors import RulesError
from invalidator.model import Failure
from invalidator.rules import load
from invalidator.rules.plan.engine import MEMO
from tests.unit.rules.conftest import LIMIT, batch, names, plan

ORDERS = """
rules:
  - name: order-changed
    on: [order.updated, "order.item.*"]
    invalidate:
      keys: ["order:single:{orderId}", "orders:count:{customer.id}"]
"""


def test_each_event_adds_its_names_once(rules: Any) -> None:
    event = {"type": "order.updated", "data": {"orderId": "o1", "customer": {"id": 7}}}
    made = plan(rules(ORDERS), event, event, {**event, "type": "order.item.added"})
    assert made.caches["default"].keys == {"order:single:o1", "orders:count:7"}
    assert not made.rejections
    assert made.unmatched == 0


def test_an_event_without_data_is_its_own_data(rules: Any) -> None:
    made = plan(rules(ORDERS), {"type": "order.updated", "orderId": 1, "customer": {"id": 2}})
    assert made.caches["default"].keys == {"order:single:1", "orders:count:2"}


def test_unmatched_events_are_counted_and_tombstones_are_not(rules: Any) -> None:
    made = plan(rules(ORDERS), {"type": "order.item"}, {"type": "x"}, None)
    assert made.unmatched == 2
    assert not made.rejections


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"{", "not-json"),
        (b"\xff", "not-json"),
        (b"[1]", "not-object"),
        (b"{}", "no-type"),
        (b'{"type": 5}', "no-type"),
        (b'{"type": ["order.updated"]}', "no-type"),
        (b'{"type": ""}', "no-type"),
        (b'{"type": "' + b"x" * LIMIT + b'"}', "too-large"),
    ],
)
def test_what_cannot_be_read_is_rejected_and_the_rest_applied(
    rules: Any, raw: bytes, error: str
) -> None:
    good = {"type": "order.updated", "orderId": 1, "customer": {"id": 2}}
    made = plan(rules(ORDERS), raw, good)
    assert len(made.caches["default"].keys) == 2
    [rejection] = made.rejections
    assert rejection.record.raw == raw
    assert rejection.type is None
    assert [(fault.error, fault.rule) for fault in rejection.faults] == [(error, None)]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, "null-field"),
        ("", "empty-field"),
        (1.5, "not-scalar"),
        ([1], "not-scalar"),
        ({"a": 1}, "not-scalar"),
        ("a\nb", "control-character"),
        ("a\x00", "control-character"),
        ("x" * 1100, "too-long"),
    ],
)
def test_a_bad_value_rejects_this_rule_for_this_event(rules: Any, value: Any, error: str) -> None:
    ruleset = rules(
        """
rules:
  - {name: first, on: a, invalidate: {keys: ["good:{ok}", "bad:{bad}"]}}
  - {name: second, on: a, invalidate: {keys: ["other:{ok}"]}}
"""
    )
    made = plan(ruleset, {"type": "a", "ok": "v", "bad": value})
    assert made.caches["default"].keys == {"other:v"}
    [rejection] = made.rejections
    assert rejection.type == "a"
    [fault] = rejection.faults
    assert (fault.error, fault.rule, fault.what) == (error, "first", "bad:{bad}")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("plain", "k:plain"),
        (True, "k:true"),
        (False, "k:false"),
        (0, "k:0"),
        (-5, "k:-5"),
        (2**64 - 1, "k:18446744073709551615"),
        (2**70, "k:1180591620717411303424"),
        ("{x}*?'\"\\", "k:{x}*?'\"\\"),
        ("naïve \u00a0\u200b名", "k:naïve \u00a0\u200b名"),
    ],
)
def test_scalars_are_rendered_as_they_are(rules: Any, value: Any, name: str) -> None:
    ruleset = rules('rules: [{name: r, on: a, invalidate: {keys: ["k:{v}"]}}]')
    made = plan(ruleset, {"type": "a", "v": value})
    assert made.caches["default"].keys == {name}


def test_a_missing_field_says_where_the_way_ends(rules: Any) -> None:
    ruleset = rules('rules: [{name: r, on: a, invalidate: {keys: ["k:{customer.address.zip}"]}}]')
    for customer, said in (
        ({"address": 5}, "customer.address is a number, so it has no zip: 5"),
        ({}, "customer has no address; it is empty"),
        ([], "customer is a list, so it has no address: []"),
    ):
        [rejection] = plan(ruleset, {"type": "a", "customer": customer}).rejections
        assert rejection.faults[0].message == said
        assert rejection.faults[0].error == "missing-field"


def test_hostile_types_do_not_grow_memory(rules: Any) -> None:
    ruleset = rules(ORDERS)
    events = [{"type": f"order.item.{at}"} for at in range(MEMO * 2 + 10)]
    events.append({"type": "order.item." + "x" * 5000})
    plan(ruleset, *events)
    assert len(ruleset.engine("orders").table) <= MEMO + 1
    assert "order.updated" in ruleset.engine("orders").table


def test_literal_text_cannot_break_out_of_the_generated_code(rules: Any) -> None:
    text = r"""'"\n{{x}}\\%s\u0041 名 #"""
    quoted = json.dumps("k:" + text + "{v}")
    made = plan(
        rules(f"rules: [{{name: r, on: a, invalidate: {{keys: [{quoted}]}}}}]"),
        {"type": "a", "v": 1},
    )
    assert made.caches["default"].keys == {"k:" + text.replace("{{", "{").replace("}}", "}") + "1"}


def test_explain_names_each_rule_and_each_template(rules: Any) -> None:
    ruleset = rules(ORDERS)
    record = next(batch({"type": "order.updated", "id": "e1", "data": {"orderId": 1}}).records())
    [verdict] = ruleset.explain(record).verdicts
    assert verdict.matched
    assert verdict.fault is not None
    assert verdict.fault.what == "orders:count:{customer.id}"
    record = next(batch({"type": "order.item.x", "orderId": 1, "customer": {"id": 2}}).records())
    [verdict] = ruleset.explain(record).verdicts
    assert [(name.name, name.template) for name in verdict.names] == [
        ("order:single:1", "order:single:{orderId}"),
        ("orders:count:2", "orders:count:{customer.id}"),
    ]


def test_blame_finds_the_events_behind_a_failed_name(rules: Any) -> None:
    ruleset = rules(ORDERS)
    events = [{"type": "order.updated", "orderId": at, "customer": {"id": 1}} for at in (1, 2, 3)]
    events.append({**events[1], "pad": "x" * LIMIT})  # too large: it gave no name
    failure = Failure("default", "keys", "order:single:2", "noperm", "no")
    found = [*ruleset.blame(batch(*events), [failure], max_event_bytes=LIMIT)]
    rejection = found.pop(1)
    assert rejection
    assert not any(found)
    assert rejection.record.position == "1"
    assert rejection.faults[0].rule == "order-changed"


def test_every_mistake_is_reported_at_once_with_its_place(rules: Any) -> None:
    with pytest.raises(RulesError) as caught:
        rules(
            """rules:
  - name: one
    on: "a*b"
    invalidate: {keys: ["k:{a"]}
  - nam: two
    on: [a]
    invalidate: {keys: k}
"""
        )
    found = [(problem.line, problem.column) for problem in caught.value.problems]
    assert found == [(3, 10), (4, 30), (5, 5)]
    assert "did you mean name?" in str(caught.value)


def test_a_missing_file_is_a_rules_error(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="does not exist"):
        load(tmp_path / "none.yaml")


def test_a_directory_is_one_rule_set_with_unique_names(tmp_path: Path) -> None:
    rule = "rules: [{name: %s, on: a, invalidate: {keys: k}}]"
    (tmp_path / "a.yaml").write_text(rule % "one")
    (tmp_path / "b.yaml").write_text(rule % "two")
    assert [entry.name for entry in load(tmp_path).rules] == ["one", "two"]
    (tmp_path / "b.yaml").write_text(rule % "one")
    with pytest.raises(RulesError, match=r"another rule has this name: .*a\.yaml:1"):
        load(tmp_path)


@pytest.mark.parametrize("template", ["{v}", "{v}:x", "{a}{v}", "inv{w}"])
def test_an_event_cannot_name_what_is_invalidators_own(rules: Any, template: str) -> None:
    ruleset = rules(f"rules: [{{name: r, on: t, invalidate: {{keys: '{template}'}}}}]")
    event = {"type": "t", "a": "inv", "v": "invalidator:dead", "w": "alidator:dead"}
    if "{a}" in template:
        event["v"] = event["w"]
    [rejection] = plan(ruleset, event).rejections
    assert rejection.faults[0].error == "own-name"
    made = plan(ruleset, {"type": "t", "a": "b", "v": "order:1", "w": "entory"})
    assert not made.rejections


HOSTILE = "x'\"\\{}\n#);import os;raise SystemExit(os.system('x'))\u2028"


def test_no_text_of_a_rule_is_ever_run(rules: Any, tmp_path: Path) -> None:
    """Check that an author's text comes out as text anywhere, or is a mistake."""
    text = HOSTILE.replace("\n", "").replace("\u2028", "")
    braced = text.replace("{", "{{").replace("}", "}}")
    rule = {
        "name": text,
        "on": ["t", "t:{id}"],
        "source": text + "*",
        "when": f"data[{json.dumps(text)}] == {json.dumps(text)} || [1].exists(import_, true)",
        "cache": text,
        "invalidate": {
            "keys": [
                f"k:{braced}{{v:-{text.replace('}', '')}}}",
                "{'" + braced.replace("'", "") + "'|md5}",
            ],
            "patterns": [f"p:{braced}{{event.id}}"],
            "tags": [braced],
            "versions": [braced],
        },
        "on_reject": {"versions": braced},
    }
    ruleset = rules(json.dumps({"caches": {text: {"prefix": text}}, "rules": [rule]}))
    event = {"type": "t", "id": "1", "data": {text: text, "v": text}}
    made = plan(ruleset, event, origin=text + "z")
    assert not made.rejections
    found = made.caches[text]
    assert f"{text}k:{text}{text}" in found.keys
    assert found.tags == found.versions == {text}
    assert ruleset.explain(next(batch(event, origin=text + "z").records())).names


@pytest.mark.parametrize("digits", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 40])
def test_an_integer_of_more_than_64_bits_keeps_its_digits(rules: Any, digits: str) -> None:
    keys = "['k:{v}', 'j:{w|json}', 's:{w|json(sorted)}']"
    ruleset = rules(f"rules: [{{name: r, on: t, invalidate: {{keys: {keys}}}}}]")
    listed = f'{{"é":[{digits}]}}'
    made = plan(ruleset, f'{{"type": "t", "v": {digits}, "w": {listed}}}'.encode())
    assert names(made).keys == {f"k:{digits}", f"j:{listed}", f"s:{listed}"}


@pytest.mark.parametrize(
    "kind", ["x" * 90_000, "\x1b[31m\r\n", "__class__", "__missing__", "\u202e", "."]
)
def test_a_hostile_type_is_only_a_type_that_no_rule_names(rules: Any, kind: str) -> None:
    ruleset = rules(ORDERS)
    assert plan(ruleset, {"type": kind}).unmatched == 1
    [verdict] = ruleset.explain(next(batch({"type": kind}).records())).verdicts
    assert len(verdict.why) < 400


def test_of_a_field_that_stands_twice_the_last_counts(rules: Any) -> None:
    ruleset = rules("rules: [{name: r, on: t, invalidate: {keys: 'k:{v}'}}]")
    made = plan(ruleset, b'{"type": "x", "type": "t", "v": 1, "v": 2}')
    assert made.caches["default"].keys == {"k:2"}
