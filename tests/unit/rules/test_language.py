"""Rules beyond their templates: types, conditions, sources, caches, fallbacks."""

from typing import Any

import pytest
from msgspec.structs import replace

from invalidator.rules.plan.event_types import (
    MAX_SEGMENTS,
    PatternError,
    PatternTree,
    parse_pattern,
)
from tests.unit.rules.conftest import LIMIT, batch, faults, names, plan


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("order.updated", ["order.updated"], ["order:updated", "order.updated.x", "order"]),
        ("order.*", ["order.updated"], ["order", "order.", "order:updated", "order.a.b"]),
        ("order.**", ["order", "order.a", "order.a.b", "order:a"], ["orders.a"]),
        ("**", ["a", "a.b:c"], []),
        ("*.created", ["user.created"], ["a.user.created", "created"]),
        ("a.**.z", ["a.z", "a.b.c.z"], ["a.b"]),
        ("item:updated", ["item:updated"], ["item.updated"]),
        ("order:{id}", ["order:17"], ["order:17:x", "order:"]),
    ],
)
def test_types_match_by_segments(pattern: str, matching: list[str], others: list[str]) -> None:
    tree = PatternTree()
    tree.add(parse_pattern(pattern), (0, 0))
    assert [kind for kind in matching + others if tree.hits(kind)] == matching


@pytest.mark.parametrize("pattern", ["", "a..b", "user-*", "a.{b}c", "{a}.**.{b}.**", "{a}.{a}"])
def test_a_wrong_type_is_rejected(pattern: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(pattern)


def test_many_deep_wildcards_do_not_explode() -> None:
    tree = PatternTree()
    tree.add(parse_pattern(".".join(["**", "a"] * 12)), (0, 0))
    assert tree.hits(".".join(["a"] * 200))
    assert not tree.hits(".".join(["a"] * 200) + ".b")


def test_each_place_of_a_type_is_tried_once_behind_a_deep_wildcard() -> None:
    """The time must not grow with the square of the segments: that is 50 million steps here."""
    tree = PatternTree()
    tree.add(parse_pattern("**.b.**.c"), (0, 0))
    assert not tree.hits(".".join(["b"] * 10_000))
    assert tree.hits(".".join(["b"] * 10_000) + ".c")


def test_an_endless_type_is_rejected(rules: Any) -> None:
    ruleset = rules("rules: [{name: r, on: '**.b.**', invalidate: {keys: 'k:{id}'}}]")
    longest = "a.b" + ":c" * (MAX_SEGMENTS - 2)
    table = {"op": "c", "source": {"table": longest}, "after": {"id": 3}}
    events = [{"type": longest + more, "data": {"id": len(more)}} for more in ("", ".")]
    made = plan(ruleset, *events, table, table)
    assert names(made).keys == {"k:0"}
    assert faults(made) == [(None, "too-long")] * 3


def test_captures_of_a_type_are_names(rules: Any) -> None:
    ruleset = rules(
        """rules:
  - {name: r, on: ["order:{id}", "x.**.{id}"], invalidate: {keys: ["o:{match.id}"]}}"""
    )
    made = plan(ruleset, {"type": "order:17"}, {"type": "x.a.b.9"})
    assert names(made).keys == {"o:17", "o:9"}


def test_a_channel_named_by_a_rule_is_the_type_of_events_that_have_none(rules: Any) -> None:
    ruleset = rules('rules: [{name: r, on: "item:updated", invalidate: {keys: ["i:{itemId}"]}}]')
    made = plan(ruleset, {"itemId": 1, "organizationId": 2}, origin="item:updated")
    assert names(made).keys == {"i:1"}
    assert faults(plan(ruleset, {"itemId": 1}, origin="other")) == [(None, "no-type")]


CONDITION = """rules:
  - name: r
    on: t
    when: status != "draft"
    on_error: %s
    invalidate: {keys: ["o:{id}"]}
  - {name: other, on: t, invalidate: {keys: ["p:{id}"]}}
"""


@pytest.mark.parametrize("on_error", ["apply", "skip", "reject"])
def test_a_condition_decides(rules: Any, on_error: str) -> None:
    ruleset = rules(CONDITION % on_error)
    made = plan(ruleset, {"type": "t", "id": 1, "status": "draft"})
    assert names(made).keys == {"p:1"}
    made = plan(ruleset, {"type": "t", "id": 1, "status": "paid"})
    assert names(made).keys == {"o:1", "p:1"}
    assert not made.notes


def test_a_failed_condition_is_noted_once_for_each_event(rules: Any) -> None:
    """This includes events that another rule rejects: they are planned on two paths."""
    ruleset = rules(CONDITION % "apply" + "  - {name: bad, on: t, invalidate: {keys: '{bad}'}}")
    event = {"type": "t", "id": 1}
    made = plan(ruleset, event, {**event, "bad": 1}, event)
    [note] = made.notes.values()
    assert (note.count, len(made.rejections)) == (3, 2)
    [part] = batch(event).slices
    change = {"op": "c", "source": {"table": "t"}, "after": {"x": 1}}
    made = plan(rules((CONDITION % "apply").replace("on: t", "on: t.created")), change, change)
    assert made.notes["r", "condition-failed"].count == len(made.rejections) == 2
    twice = replace(batch(event), slices=[part, part])
    assert ruleset.plan(twice, max_event_bytes=LIMIT).notes["r", "condition-failed"].count == 2


@pytest.mark.parametrize(
    ("on_error", "keys", "rejected", "noted"),
    [
        ("apply", {"o:1", "p:1"}, [], 1),
        ("skip", {"p:1"}, [], 1),
        ("reject", {"p:1"}, [("r", "condition-failed")], 0),
    ],
)
def test_a_condition_that_fails_does_what_on_error_says(
    rules: Any, on_error: str, keys: set[str], rejected: list[Any], noted: int
) -> None:
    ruleset = rules(CONDITION % on_error)
    event = {"type": "t", "id": 1}
    made = plan(ruleset, event)
    assert names(made).keys == keys
    assert faults(made) == rejected
    assert [note.count for note in made.notes.values()] == [1] * noted
    record = next(batch(event).records())
    verdict = ruleset.explain(record).verdicts[0]
    assert {name.name for name in verdict.names} == keys - {"p:1"}


def test_a_source_limits_a_rule(rules: Any) -> None:
    ruleset = rules(
        """rules:
  - {name: one, on: t, source: [orders, "shop.*"], invalidate: {keys: ["one"]}}
  - {name: all, on: t, invalidate: {keys: ["all"]}}"""
    )
    assert names(plan(ruleset, {"type": "t"}, origin="orders")).keys == {"one", "all"}
    assert names(plan(ruleset, {"type": "t"}, origin="shop.eu")).keys == {"one", "all"}
    assert names(plan(ruleset, {"type": "t"}, origin="shop")).keys == {"all"}


def test_names_carry_their_caches_prefix(rules: Any) -> None:
    ruleset = rules(
        """
caches:
  web: {prefix: "app[1]:"}
rules:
  - name: r
    on: t
    cache: web
    invalidate: {keys: k, patterns: "p:*", tags: g, versions: v}"""
    )
    made = names(plan(ruleset, {"type": "t"}), "web")
    assert made.keys == {"app[1]:k"}
    assert made.patterns == {r"app\[1\]:p:*"}
    assert (made.tags, made.versions) == ({"g"}, {"v"})


def test_repeated_names_are_planned_twice(rules: Any) -> None:
    ruleset = rules(
        """rules:
  - {name: a, on: t, repeat_after: 500ms, invalidate: {keys: "k:{id}", tags: g}}
  - {name: b, on: t, invalidate: {keys: other}}"""
    )
    made = plan(ruleset, {"type": "t", "id": 1})
    assert names(made).keys == {"k:1", "other"}
    again = made.repeats[0.5]["default"]
    assert (again.keys, again.tags) == ({"k:1"}, {"g"})


def test_what_nothing_is_named_for_is_not_waited_for(rules: Any) -> None:
    ruleset = rules(
        """caches: {web: {}}
rules:
  - {name: a, on: t, repeat_after: 1h, invalidate: {keys: "k:{id}"}}
  - {name: b, on: other, invalidate: {keys: other}}
  - {name: c, on: t, cache: web, invalidate: {keys: "k:{id}"}}"""
    )
    made = plan(ruleset, {"type": "other"})
    assert (set(made.caches), made.repeats) == ({"default"}, {})


def test_a_fallback_is_done_instead_and_noted(rules: Any) -> None:
    ruleset = rules(
        """rules:
  - name: r
    on: t
    repeat_after: 1s
    invalidate: {keys: "k:{id}"}
    on_reject: {versions: orders}"""
    )
    made = plan(ruleset, {"type": "t"})
    assert not made.rejections
    assert names(made).versions == {"orders"}
    assert made.repeats[1.0]["default"].versions == {"orders"}
    assert made.notes["r", "on-reject"].count == 1


def test_a_rule_that_is_not_enabled_does_nothing_and_explain_tells(rules: Any) -> None:
    ruleset = rules("rules: [{name: r, on: t, enabled: false, invalidate: {keys: k}}]")
    made = plan(ruleset, {"type": "t"})
    assert made.unmatched == 1
    [verdict] = ruleset.explain(next(batch({"type": "t"}).records())).verdicts
    assert verdict.why == "the rule is not enabled"


def test_headers_the_records_key_and_rows_are_names_too(rules: Any) -> None:
    ruleset = rules(
        """rules:
  - name: r
    on: users.updated
    when: before.plan != after.plan && headers["tenant"] == "t1"
    invalidate: {keys: ["{headers.tenant}:{event.key}:{before.plan}:{after.plan}"]}"""
    )
    event = {"type": "users.updated", "data": {"before": {"plan": "a"}, "after": {"plan": "b"}}}
    made = plan(ruleset, event, key=b"k", headers=[("tenant", b"t1")])
    assert names(made).keys == {"t1:k:a:b"}


def test_events_of_no_origin_do_not_decide_for_the_others(rules: Any) -> None:
    ruleset = rules("rules: [{name: r, on: t, source: orders, invalidate: {keys: k}}]")
    assert plan(ruleset, {"type": "t"}, origin="").unmatched == 1
    assert names(plan(ruleset, {"type": "t"}, origin="orders")).keys == {"k"}


@pytest.mark.parametrize("template", ["{event.key}", "{headers.h}", "{headers.h|lower}"])
def test_a_key_or_header_that_is_no_text_is_rejected_and_names_nothing_else(
    rules: Any, template: str
) -> None:
    ruleset = rules(f"rules: [{{name: a, on: t, invalidate: {{keys: ['k:{template}']}}}}]")
    made = plan(ruleset, {"type": "t"}, key=b"\xff", headers=[("h", b"\xff\xfe")])
    assert (made.caches, faults(made)) == ({}, [("a", "not-scalar")])
