"""Warnings and notes of `check`: rules that are valid, but probably not what was meant."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invalidator.errors import RulesError
from invalidator.model import Record
from invalidator.rules import RuleSet, load
from invalidator.rules.lint import check, unread


def said(tmp_path: Path, text: str, severity: str = "warning") -> list[str]:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    checked = check(path)
    assert checked.good
    return [entry.problem.message for entry in checked.findings if entry.severity == severity]


def rule(invalidate: str, more: str = "on: t") -> str:
    return f"rules: [{{name: r, {more}, invalidate: {{{invalidate}}}}}]"


@pytest.mark.parametrize(
    ("invalidate", "words"),
    [
        ("keys: 'order:*'", "a * stands for itself in keys; patterns: takes every key"),
        ("tags: 'order:*'", "a * stands for itself in tags; name each"),
        ("versions: 'order:*'", "a * stands for itself in versions; name each"),
        ("patterns: 'order:{id}'", "this is one key: under keys: it needs no sweep"),
        ("patterns: 'order:%'", "this is one key"),
        ("patterns: '^order:*'", "a glob, not a regular expression"),
        ("patterns: 'order:.*'", "a glob, not a regular expression"),
        ("keys: 'k:${id}'", "the $ is part of the name; a field is {id} alone"),
        ("keys: 'k:{data}'", "{data} is all of the event's data"),
    ],
)
def test_a_name_that_does_not_do_what_it_looks_like(
    invalidate: str, words: str, tmp_path: Path
) -> None:
    [warning] = said(tmp_path, rule(invalidate))
    assert words in warning


@pytest.mark.parametrize(
    "invalidate",
    [
        "keys: ['k:{id}', 'k:{data|json|md5}', 'f:{data.id}', 'price$:1', 'a.b']",
        r"patterns: ['order:[ab]:*', 'v1.*', 'o\*:?', 'a:\[*', 'p:{id}:*']",
    ],
)
def test_a_usual_name_is_not_warned_of(invalidate: str, tmp_path: Path) -> None:
    assert said(tmp_path, rule(invalidate)) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("'order.updated, order.deleted'", "one type with a comma in it"),
        ("'order.(a|b)'", "( stands for itself"),
    ],
)
def test_a_type_that_no_event_has(kind: str, words: str, tmp_path: Path) -> None:
    text = rule("keys: k", f"on: {kind}")
    [warning] = said(tmp_path, text)
    assert words in warning
    shown = f"{text}\ntests: [{{event: {{type: {kind}}}, expect: {{keys: k}}}}]"
    assert said(tmp_path, shown) == []


def test_a_condition_that_never_holds_is_a_warning(tmp_path: Path) -> None:
    [warning] = said(tmp_path, rule("keys: k", "on: t, when: 'false'"))
    assert warning == "when: this never holds; enabled: false turns a rule off"


def test_a_prefix_that_would_stand_there_twice(tmp_path: Path) -> None:
    text = "caches: {default: {prefix: 'app:'}}\n" + rule("keys: ['app:k', 'k'], tags: 'app:t'")
    assert said(tmp_path, text) == ["the cache's prefix stands before this: app:app:k"]
    assert said(tmp_path, text.replace("prefix: 'app:'", "prefix: ap")) == []


def test_a_field_in_two_braces_is_noted_as_a_text(tmp_path: Path) -> None:
    [note] = said(tmp_path, rule("keys: 'k:{{id}}'"), "note")
    assert "this is the text {id}, and the field is {id} in single braces, or {{{id}}}" in note


@pytest.mark.parametrize(
    ("source", "origins", "reached"),
    [
        ("orders", ("orders",), True),
        ("ordrs", ("orders",), False),
        ("[ordrs, orders]", ("orders",), True),
        ("'eu.*'", ("eu.orders",), True),
        ("'eu.*'", ("us.orders",), False),
        ("eu.orders", ("eu.*",), True),  # a glob of pub/sub
        ("'*.orders'", ("eu.*",), True),
        ("us.orders", ("eu.*",), False),
        ("eu.orders", (r"^eu\..*",), True),  # topics by an expression
        ("us.orders", (r"^eu\..*",), False),
        ("'eu.*'", (r"^eu\..*",), True),
        ("ordrs", (), True),  # what is read is not known
    ],
)
def test_a_rule_is_reached_from_what_is_read(
    source: str, origins: tuple[str, ...], reached: bool, rules: Callable[[str], RuleSet]
) -> None:
    made = rules(f"rules: [{{name: r, on: t, source: {source}, invalidate: {{keys: k}}}}]")
    assert ([*unread(made.rules, origins)] == []) is reached


def test_the_nearest_name_is_suggested(rules: Callable[[str], RuleSet]) -> None:
    made = rules("rules: [{name: r, on: t, source: ordrs, invalidate: {keys: k}}]")
    [(rule, said)] = unread(made.rules, ("orders", "users"))
    assert (rule.name, said.partition("; ")[2]) == ("r", "did you mean orders?")


def test_a_rule_that_is_off_or_takes_all_is_no_matter(rules: Callable[[str], RuleSet]) -> None:
    made = rules("""rules:
  - {name: off, on: t, source: x, enabled: false, invalidate: {keys: k}}
  - {name: all, on: t, invalidate: {keys: k}}
""")
    assert [*unread(made.rules, ("orders",))] == []


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        ("user:{a}:{b}", True),
        ("{a}:user:{b}", True),
        ("user:{a.x}:{b[].y}", True),
        ("user:{a|segment}:{b}", False),
        ("user:{a|md5}:{b}", False),
        ("user:{a}-{b}", False),
        ("user:{a}", False),
    ],
)
def test_values_that_may_hold_the_separator_are_warned_of(
    keys: str, warned: bool, tmp_path: Path
) -> None:
    text = rule(f"keys: '{keys}'")
    warnings = said(tmp_path, text)
    assert bool(warnings) == warned
    assert all("|segment" in each and "values: segment" in each for each in warnings)
    assert said(tmp_path, f"values: segment\n{text}") == []


@pytest.mark.parametrize(
    ("event", "severity", "words"),
    [
        ("{a: 1, b: x}", "note", "as long as a hold no colon"),
        ("{a: 0b9f0f4e-0d1c-4b7e-9e57-0f6a3c1d2e3f, b: x}", "note", "as long as a hold"),
        ("{a: 1, b: 2}", "note", "as long as a and b hold"),
        ("{a: x, b: y}", "warning", "a and b may hold"),
        ("{a: 1}", "note", "as long as a hold"),
        ("{c: 1}", "warning", "a and b may hold"),
        ("{a: [{a: 1}, {a: x}], b: x}", "warning", "a and b may hold"),
    ],
)
def test_values_that_tests_show_to_be_ids_are_a_note(
    event: str, severity: str, words: str, tmp_path: Path
) -> None:
    text = rule("keys: 'user:{a}:{b}'")
    text += f"\ntests: [{{event: {{type: t, data: {event}}}, expect: nothing}}]"
    [found] = said(tmp_path, text, severity)
    assert words in found


def test_the_switch_keeps_each_value_in_its_segment(rules: Callable[[str], RuleSet]) -> None:
    text = rule("keys: 'u:{a}:{b[]?}', tags: \"{'{a}:{c}'}\", patterns: 'p:{a}:*'")
    made = rules(f"values: segment\n{text}")
    names = made.explain(record({"a": "1:2", "b": ["x:*"], "c": "3%"})).names
    found = {name.name for name in names}
    assert found == {"u:1%3A2:x%3A*", "1%3A2:3%25", "p:1%3A2:*"}


def test_the_switch_holds_for_all_files_which_must_agree(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("values: segment\nrules: []\n")
    (tmp_path / "b.yaml").write_text(rule("keys: 'u:{a}:{b}'"))
    assert load(tmp_path).explain(record({"a": "1:2", "b": 3})).names[0].name == "u:1%3A2:3"
    (tmp_path / "c.yaml").write_text("values: verbatim\nrules: []\n")
    with pytest.raises(RulesError, match=r"holds for all files, and .*a.yaml:1 has segment"):
        load(tmp_path)


def record(data: dict[str, Any]) -> Record:
    return Record("test", "t", "", json.dumps({"type": "t", "data": data}).encode())
