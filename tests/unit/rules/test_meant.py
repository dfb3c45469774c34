"""Rules that are in order, and do something else than their author means, probably."""

from pathlib import Path

import pytest

from invalidator.rules.lint.lint import check


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
        ("patterns: 'order:[ab*'", "the [ of this pattern is never closed"),
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
        ("'order.updated '", "begins or ends with a space"),
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


def test_a_field_in_two_braces_is_told_to_be_a_text(tmp_path: Path) -> None:
    [note] = said(tmp_path, rule("keys: 'k:{{id}}'"), "note")
    assert "this is the text {id}, and the field is {id} in single braces, or {{{id}}}" in note
