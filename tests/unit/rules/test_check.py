"""Mistakes in rules files: each with its place and what to write instead."""

from pathlib import Path
from typing import Any

import pytest

from invalidator.errors import RulesError
from invalidator.rules.check import check
from invalidator.rules.loader import load
from invalidator.rules.yaml12 import MAX_DEPTH, resolve

RULE = "{name: r, on: t, invalidate: {keys: k}}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def mistakes(path: Path, text: str) -> list[tuple[int, int, str]]:
    path.write_text(text)
    with pytest.raises(RulesError) as caught:
        load(path)
    return [(found.line, found.column, found.message) for found in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the file is empty"),
        ("rules: [", 2, 1, "not YAML"),
        ("rules:\n\t- a", 2, 1, "not YAML"),
        ("rules: 5", 1, 8, "rules: expected a list, found a number"),
        ("[]", 1, 1, "expected an object"),
        ("a: &x 1\nrules: []", 1, 4, "anchors are not read"),
        ("rules: [*x]", 1, 9, "aliases are not read"),
        ("rules: !!set {}", 1, 8, "tags are not read"),
        ("rules: []\nrules: []", 2, 1, "the key stands here twice, first in line 1"),
        ("rules: []\n---\nrules: []", 2, 1, "one document"),
        ("? [a]\n: b", 1, 3, "a key is text, not a list"),
        ("rules: []\nruls: []", 2, 1, "did you mean rules?"),
        ("version: 2\nrules: []", 1, 10, "expected 1"),
        ("rules: [{name: r, on: t}]", 1, 9, "a rule has no invalidate"),
        ("rules: [{name: r, on: t, invalidate: {}}]", 1, 38, "invalidate is empty"),
        ("rules: [{name: 5, on: t, invalidate: {keys: k}}]", 1, 16, 'write "5"'),
        ("rules: [{name: r, on: [], invalidate: {keys: k}}]", 1, 23, "the list is empty"),
        ("rules: [{name: r, on: t, when: 'a ==', invalidate: {keys: k}}]", 1, 37, "when:"),
        ("rules: [{name: r, on: t, on_error: skip, invalidate: {keys: k}}]", 1, 26, "no when:"),
        (
            "rules: [{name: r, on: t, repeat_after: 5, invalidate: {keys: k}}]",
            1,
            40,
            "expected a duration",
        ),
        (
            "rules: [{name: r, on: t, on_error: aply, when: a, invalidate: {keys: k}}]",
            1,
            36,
            "did you mean apply?",
        ),
        ("rules: [{name: r, on: t, cache: webb, invalidate: {keys: k}}]", 1, 16, "no cache"),
        ("rules: [{name: r, on: t, invalidate: {keys: ['{match.id}']}}]", 1, 47, "captures no"),
        (
            "rules: [{name: r, on: t, invalidate: {keys: k}, on_reject: {tags: '{a}'}}]",
            1,
            68,
            "on_reject names are fixed",
        ),
        ("rules: [{name: r, on: t, invalidate: {patterns: '{id}:*'}}]", 1, 50, "literal text"),
        ("rules: [{name: r, on: t, invalidate: {patterns: '*'}}]", 1, 50, "literal text"),
        ("rules: [{name: r, on: t, invalidate: {patterns: 'cache:*'}}]", 1, 50, "protected"),
        ("rules: [{name: r, on: t, invalidate: {patterns: 'tag:{id}'}}]", 1, 50, "protected"),
        (
            "caches: {default: {protect: ['lock:*']}}\n"
            "rules: [{name: r, on: t, invalidate: {patterns: 'lo*'}}]",
            2,
            50,
            "protect: lock:*",
        ),
        (
            "caches: {a: {tags: [{layout: set, key: 'x:{tag}'}, {layout: stamp, key: 'x:{tag}'}]}}",
            1,
            10,
            "share the key",
        ),
        ("caches: {a: {tags: [{layout: set, key: 'x'}]}}", 1, 41, "expected {tag} exactly once"),
        ("caches: {a: {versions: {key: '{name}'}}}", 1, 10, "must begin with a literal"),
        ("envelope: {type: 'a}'}", 1, 19, "type:"),
        (
            "rules: [{name: r, on: order.paid, invalidate: {keys: ['{before.id}']}}]",
            1,
            56,
            "a plain event has no row before",
        ),
        ("tests: [{event: {type: t}, expect: none}]", 1, 36, "nothing"),
        ("tests: [{event: {type: t}, expect: {rejected: x}}]", 1, 9, "no rule is called x"),
    ],
)
def test_a_mistake_is_found(path: Path, text: str, line: int, column: int, message: str) -> None:
    found = mistakes(path, text)
    assert any(message in said for _, _, said in found), found
    assert (line, column) in [(at, where) for at, where, _ in found]


def test_depth_and_size_are_bounded(path: Path) -> None:
    assert "nested deeper" in mistakes(path, "a: " + "[" * 500)[0][2]
    assert "nested deeper" in mistakes(path, "a: " + "[" * (MAX_DEPTH + 1))[0][2]
    assert "more than" in mistakes(path, "a: " + "x" * 5_000_000)[0][2]


def test_text_that_is_not_utf8_says_the_line(path: Path) -> None:
    path.write_bytes(b"rules: []\n# \xff\n")
    with pytest.raises(RulesError, match=":2:1: this is not UTF-8"):
        load(path)


def test_templates_of_sound_rules_are_checked_beside_broken_ones(path: Path) -> None:
    found = mistakes(
        path,
        """rules:
  - {name: a, on: t, invalidate: {keys: "{x"}}
  - {nam: b, on: t, invalidate: {keys: k}}
""",
    )
    assert {line for line, _, _ in found} == {2, 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("9" * 50, float("9" * 50)),
        (".inf", float("inf")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = resolve(text)
    assert (type(found), found) == (type(value), value)


def findings(path: Path, text: str) -> list[tuple[str, str]]:
    path.write_text(text)
    return [(entry.severity, entry.problem.message) for entry in check(path).findings]


def test_what_may_be_meant_otherwise_is_a_warning(path: Path) -> None:
    found = findings(
        path,
        """caches: {default: {tags: [{layout: set}]}}
rules:
  - name: a
    on: order.*
    invalidate:
      keys: ["orders:list:{id}:1", "user:{{{id}}}:x", "k", "k"]
      patterns: ["orders:list:{id}:*"]
  - {name: b, on: order.updated, invalidate: {keys: "user:{{{id}}}:x"}}
  - {name: c, on: other, invalidate: {keys: k}}
""",
    )
    warnings = [said for severity, said in found if severity == "warning"]
    assert sum("stands twice" in said for said in warnings) == 1
    assert sum("the rule a gives this name" in said for said in warnings) == 1
    assert sum("orders:list:{id}:* covers this" in said for said in warnings) == 1
    assert sum("such as orders:list:{id}" in said for said in warnings) == 1
    assert len(warnings) == 4
    notes = [said for severity, said in found if severity == "note"]
    assert notes == ["in a Redis Cluster the slot is that of {id}"] * 2


def test_allow_broad_permits_a_broad_pattern(path: Path) -> None:
    text = "rules: [{name: r, on: t, allow_broad: true, invalidate: {patterns: ['{a}:*', '*']}}]"
    assert not [found for found in findings(path, text) if found[0] == "error"]


def test_a_plain_before_is_permitted_where_a_test_shows_it(path: Path) -> None:
    text = """
rules: [{name: r, on: order.paid, invalidate: {keys: ['{before.id}']}}]
tests: [{event: {type: order.paid, before: {id: 1}}, expect: {keys: "1"}}]
"""
    assert not findings(path, text)


def test_one_envelope_holds_for_all_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("envelope: {data: x}")
    with pytest.raises(RulesError, match="one envelope holds for all files"):
        load(tmp_path)


def test_the_hash_tells_content_and_not_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    for path in (one, two):
        path.write_text(f"rules: [{RULE}]")
    assert load(one).hash == load(two).hash
    two.write_text(f"rules: [{RULE}] # more")
    assert load(one).hash != load(two).hash
