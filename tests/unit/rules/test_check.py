"""Mistakes in rules files: each with its place and what to write instead."""

import os
from pathlib import Path
from typing import Any

import pytest

from invalidator.errors import RulesError
from invalidator.rules.file.load import load
from invalidator.rules.file.yaml import MAX_DEPTH, MAX_PROBLEMS, resolve
from invalidator.rules.lint import check

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
        ("a: &x 1\nrules: []", 1, 4, "anchors are not supported"),
        ("rules: [*x]", 1, 9, "aliases are not supported"),
        ("rules: !!set {}", 1, 8, "tags are not supported"),
        ("rules: []\nrules: []", 2, 1, "the key occurs twice here, first in line 1"),
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
        ("rules: [{name: r, on: t, cache: webb, invalidate: {keys: k}}]", 1, 33, "no cache"),
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
            74,
            "share this key",
        ),
        ("caches: {a: {tags: [{layout: set, key: 'x'}]}}", 1, 41, "expected {tag} exactly once"),
        ("caches: {a: {versions: {key: '{name}'}}}", 1, 10, "must begin with a literal"),
        ("envelope: {type: 'a}'}", 1, 19, "type:"),
        ("envelope: {type: '{x}a}b'}", 1, 19, "an unbalanced brace"),
        (
            "rules: [{name: r, on: order.paid, invalidate: {keys: ['{before.id}']}}]",
            1,
            56,
            "a plain event has no row before",
        ),
        ("tests: [{event: {type: t}, expect: none}]", 1, 36, "nothing"),
        ("tests: [{event: {type: t}, expect: {rejected: x}}]", 1, 47, "no rule is called x"),
    ],
)
def test_a_mistake_is_found(path: Path, text: str, line: int, column: int, message: str) -> None:
    found = mistakes(path, text)
    assert any(message in said for _, _, said in found), found
    assert (line, column) in [(at, where) for at, where, _ in found]


@pytest.mark.parametrize(
    ("invalidate", "line", "column", "message"),
    [
        ("{keys: k:{id}}", 4, 25, "put quotes around a text that has {"),
        ("{keys: [k:{id}, b]}", 4, 26, "put quotes around a text that has {"),
        ("\n      keys:\n        - {id}:x", 6, 15, "put quotes around a text that begins with {"),
        ("\n      keys: a\n       tags: b", 6, 12, "begin the fields of an object in the same"),
        (
            "\n      keys:\n        - a\n          - b",
            6,
            11,
            "this text continues in the next line",
        ),
        ("\n      keys:\n        - order: b", 6, 11, "or has ': ' in it"),
        ("\n      keys:[a]", 5, 7, "a space belongs after the :"),
        ('{keys: "a\\d"}', 4, 26, "in single quotes a \\ is a \\"),
        ("\n    keys: [a]", 5, 5, "it stands further right, under invalidate:"),
    ],
)
def test_what_yaml_makes_of_a_name_without_quotes_or_indentation(
    invalidate: str, line: int, column: int, message: str, path: Path
) -> None:
    found = mistakes(path, f"rules:\n  - name: r\n    on: t\n    invalidate: {invalidate}\n")
    assert (line, column) in [(at, where) for at, where, said in found if message in said], found


def test_a_long_name_of_a_test_may_go_over_two_lines(path: Path) -> None:
    event = "event: {type: t}\n    expect: {keys: k}"
    path.write_text(f"rules: [{RULE}]\ntests:\n  - name: a name\n      of two lines\n    {event}\n")
    assert load(path).tests[0].name == "a name of two lines"


def test_depth_and_size_are_bounded(path: Path) -> None:
    assert "nested deeper" in mistakes(path, "a: " + "[" * 500)[0][2]
    assert "nested deeper" in mistakes(path, "a: " + "[" * (MAX_DEPTH + 1))[0][2]
    assert "more than" in mistakes(path, "a: " + "x" * 5_000_000)[0][2]


def test_text_that_is_not_utf8_says_the_line(path: Path) -> None:
    path.write_bytes(b"rules: []\n# \xff\n")
    with pytest.raises(RulesError, match=":2:3: this is not UTF-8: the byte 0xff"):
        load(path)


MANY = """\
version: 1
cachez:
  default:
    tags: [{layout: set, key: "tag:{tg}"}, {layout: stmp}]
  pages: {tags: [{layout: stamp, key: "tag:{tag}"}]}
rules:
  - name: a
    onn: order.updated
    invalidate: {keys: ["order:{orderId|lowr}", 5]}
  - name: a
    on: order.updated
    invalidate: {keyz: ["{event.tpe}"], patterns: ["{id}:*", "*"]}
  - name: c
    on: ["order.upd*", ok]
    when: statsus = "x"
    cache: pags
    owner: [me]
    invalidate: {patterns: "order:{x"}
  - just text
  - name: d
    on: "o:{id}"
    max_keys: 0
    invalidate: {keys: ["{match.idd}", *alias]}
    on_reject: {keys: "x:{id}"}
tests:
  - event: {type: x}
    expect: nothin
  - {event: {type: x}, expect: {keyz: a, rejected: zz}}
"""


def test_every_mistake_is_reported_at_once_and_once(path: Path) -> None:
    found = mistakes(path, MANY)
    assert [(line, said.split(";")[0]) for line, _, said in found] == [
        (2, "the file has no field cachez"),
        (4, "expected {tag} exactly once, such as cache:{tag}"),
        (4, "layout: stmp is not valid"),
        (8, "a rule has no field onn"),
        (9, "no filter is called lowr"),
        (9, 'keys: expected text, found a number: write "5"'),
        (10, "another rule has this name: " + str(path) + ":7"),
        (12, "invalidate has no field keyz"),
        (12, "an event has no tpe"),
        (12, "a pattern begins with a literal text, or it could reach every key"),
        (12, "a pattern begins with a literal text, or it could reach every key"),
        (14, "* and {name} stand for a whole segment between . or :"),
        (15, "when: unexpected '=': write '==' to compare"),
        (16, "no cache is called pags"),
        (17, "owner: expected text, found a list"),
        (18, "expected } here, found the end of the text"),
        (19, "rules: expected an object with name, on, when, on_error, …, found text"),
        (22, "max_keys: expected 1 to 1000000"),
        (23, "match.idd: on: o:{id} captures no {idd}"),
        (23, "aliases are not supported: write the value out, or put quotes around a text"),
        (24, "on_reject names are fixed: a field could be what is missing"),
        (27, "expect: nothin is not valid"),
        (28, "expect has no field keyz"),
        (28, "no rule is called zz"),
    ]
    for word in ("caches", "stamp", "on", "lower", "keys", "type", "pages", "id", "nothing"):
        assert any(f"did you mean {word}?" in said for _, _, said in found), word


def test_a_mistake_is_no_reason_for_others(path: Path) -> None:
    """Do not report what only follows from a mistake that is reported already."""
    for text in (
        "rules: [{nam: r, on: users.updated, invalidate: {keys: '{before.x}'}}]\n"
        "tests: [{event: {type: t}, expect: {rejected: r}}]",
        "rules: [{name: r, on: 'a*', invalidate: {keys: '{before.x}:{match.x}'}}]",
        "rules: [{name: r, on: t, invalidate: {patterns: '{id'}}]",
    ):
        assert len(mistakes(path, text)) == 1


def test_a_file_of_nothing_but_mistakes_shows_the_first_ones(path: Path) -> None:
    found = mistakes(path, "rules:\n" + "  - {nam: x}\n" * 5000)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1][2] == "and more: fix these first"


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        ("'it''s {a'", 4, 14),
        (r'"\x41\"\u0041 {a"', 4, 14),
        ("|-\n        a {b.}", 5, 14),
        (">-\n        a\n        {b.}", 6, 12),
        ("a\n        {b.}", 5, 12),
    ],
)
def test_a_column_is_where_the_mistake_is_written(
    path: Path, written: str, line: int, column: int
) -> None:
    text = f"rules:\n  - name: r\n    invalidate:\n      keys: {written}\n    on: t\n"
    [(at, where, _)] = mistakes(path, text)
    assert (at, where) == (line, column)


@pytest.mark.parametrize("text", ["a\\0", "a\\x1b[31m", "a\\n", "a\\x85"])
@pytest.mark.parametrize("field", ["name", "on", "keys"])
def test_texts_have_no_control_characters(path: Path, text: str, field: str) -> None:
    rule = {"name": "r", "on": "t", "keys": "k", field: text}
    found = mistakes(
        path,
        f'rules: [{{name: "{rule["name"]}", on: "{rule["on"]}", '
        f'invalidate: {{keys: "{rule["keys"]}"}}}}]',
    )
    assert len(found) == 1
    assert found[0][2].isprintable()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("rules:\n\t- name: r", "indent with spaces"),
        ("rules:\n  - name: r\n    on: *\n", "put quotes around"),
        ("rules:\n  - name: {a}:x\n", "put quotes around"),
        ("rules:\n  - name: r\n    when: !done\n", "put quotes around"),
        ('rules:\n  - name: r\n    when: "a" == b\n', "put quotes around"),
        ("rules:\n  - name: r\n    when: a ? b : c\n", "put quotes around"),
        ("rules:\n  - name: r\n    invalidate: {keys: {id}}\n", "put quotes around"),
        ('rules:\n  - name: "r\n', "that begins in line 2"),
        ("rules: \\0".replace("\\0", "\0"), r"the control character '\x00'"),
    ],
)
def test_what_is_no_yaml_says_what_is_probably_meant(path: Path, text: str, hint: str) -> None:
    assert any(hint in said for _, _, said in mistakes(path, text))


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


def test_braces_that_choose_the_slot_are_a_note(path: Path) -> None:
    text = "rules: [{name: a, on: t, invalidate: {keys: ['user:{{{id}}}:x', 'u:{{a', 'u:{{}}']}}]"
    assert findings(path, text) == [("note", "in a Redis Cluster the slot is that of {id}")]


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


def test_the_hash_depends_on_content_and_not_on_the_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    for path in (one, two):
        path.write_text(f"rules: [{RULE}]")
    assert load(one).hash == load(two).hash
    two.write_text(f"rules: [{RULE}] # more")
    assert load(one).hash != load(two).hash


@pytest.mark.parametrize(
    ("caches", "rule", "shared"),
    [
        ("a: {tags: [{layout: set}]}, b: {tags: [{layout: set}]}", "", False),
        ("a: {tags: [{layout: set}]}, b: {tags: [{layout: sorted-set}]}", "", True),
        ("b: {tags: [{layout: sorted-set}]}", "", False),
        ("b: {tags: [{layout: sorted-set}]}", "tags: x", True),
        ("b: {tags: [{layout: set, key: 'cache:version:{tag}'}]}", "", True),
        (
            "a: {prefix: 'a:', tags: [{layout: set, members: relative}]}, "
            "b: {prefix: 'b:', tags: [{layout: set, members: relative}]}",
            "",
            True,
        ),
    ],
)
def test_two_caches_share_a_key_only_where_they_keep_the_same_under_it(
    path: Path, caches: str, rule: str, shared: bool
) -> None:
    path.write_text(
        f"caches: {{{caches}}}\nrules: [{{name: r, on: t, invalidate: {{keys: k, {rule}}}}}]"
    )
    said = [entry.problem.message for entry in check(path).findings if entry.severity == "error"]
    assert bool(said) == shared
    assert all("share this key" in text for text in said)


def test_a_plain_event_shows_its_rows_by_a_test_of_its_type(path: Path) -> None:
    text = """
rules: [{name: r, on: order.pay, invalidate: {keys: ['{after.id}']}}]
tests: [{event: {entity: order, action: pay, %s: {id: 1}}, expect: {keys: "1"}}]
"""
    assert not findings(path, text % "after")
    assert "a plain event has no row after" in findings(path, text % "other")[0][1]


@pytest.mark.parametrize(
    ("on", "when", "key", "said"),
    [
        ("t", "true", "{events.total}-{matches.id}-{customer.id}", ""),
        ("users.*", "true", "{before.team}", "write {before.team?}"),
        ("users.deleted", "true", "{after.team}", "write {after.team?}"),
        ("users.updated", "true", "{before.team}", ""),
        ("users.*", "true", "{before.team?}-{after.x:-0}", ""),
    ],
)
def test_names_that_are_probably_not_meant_are_warnings(
    path: Path, on: str, when: str, key: str, said: str
) -> None:
    rule = f"{{name: r, on: {on!r}, when: '{when}', invalidate: {{keys: '{key}'}}}}"
    found = findings(path, f"rules: [{rule}]")
    assert [severity for severity, _ in found] == ["warning"] * bool(said)
    assert all(said in text for _, text in found)


def test_invalidators_own_keys_are_no_rules_business(path: Path) -> None:
    for effect in ("keys: 'invalidator:dead'", "keys: 'invalidator:{x}'"):
        found = findings(path, f"rules: [{{name: r, on: t, invalidate: {{{effect}}}}}]")
        assert [severity for severity, _ in found] == ["error"]


def test_a_directory_is_read_without_what_editors_and_mounts_leave_there(tmp_path: Path) -> None:
    (tmp_path / "..2024").mkdir()
    (tmp_path / "..2024" / "a.yaml").write_text(f"rules: [{RULE}]")
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    for name in (
        ".a.yaml.swp",
        "a.yaml~",
        ".#a.yaml",
        "#a.yaml#",
        "a.yaml.bak",
        ".b.yaml",
        "c.txt",
    ):
        (tmp_path / name).write_text("broken: [")
    (tmp_path / "d.yaml").mkdir()
    os.mkfifo(tmp_path / "e.yaml")
    (tmp_path / "F.YML").write_text("rules: [{name: f, on: t, invalidate: {keys: k}}]")
    assert [rule.name for rule in load(tmp_path).rules] == ["f", "r"]


def test_a_file_of_a_directory_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"rules: [{RULE}]")
    for name in ("b.yaml", "c.yaml"):
        (tmp_path / name).symlink_to("gone")
    [first, second] = check(tmp_path).findings
    assert first.problem.file.endswith("b.yaml")
    assert second.problem.file.endswith("c.yaml")
    assert "cannot be read" in first.problem.message


def test_mistakes_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    for name, text in {"a": "rules: [", "b": "ruls: []", "c": f"rules: [{RULE}, {RULE}]"}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    found = check(tmp_path).findings
    assert [Path(entry.problem.file).name for entry in found] == ["a.yaml", "b.yaml", "c.yaml"]
