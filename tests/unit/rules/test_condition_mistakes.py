"""Mistakes in conditions: what their author reads, and where."""

import pytest

from invalidator.rules.condition import ConditionSyntaxError, parse
from tests.conditions import function

MISTAKES = [
    # text, column, what the message has to say
    ("", 1, "cannot be empty"),
    ("  // only a comment", 20, "cannot be empty"),
    ('status = "draft"', 8, "write '==' to compare"),
    ('status == "draft', 11, 'no closing "'),
    ('status == "a\nb"', 11, "ends on its line"),
    (r'status == "a\d"', 13, r"unknown escape '\d': write '\\' or r"),
    (r'status == "\ud800"', 12, "is no character"),
    ('status == b"a"', 11, "leave out the 'b'"),
    ("total == 5u", 10, "leave out the 'u'"),
    ("total == 5a", 10, "a name cannot begin with a digit"),
    ("total == 9223372036854775808", 10, "does not fit into 64 bits"),
    ("total == " + "9" * 1000, 10, "does not fit into 64 bits"),
    ("total == 1e999", 10, "too large"),
    ("a & b", 3, "write '&&'"),
    ("a | b", 3, "write '||'"),
    ("a and b", 3, "an operator such as '==' or '&&'"),
    ("a == b c", 8, "expected an operator such as '==' or '&&', or the end, found 'c'"),
    ("a ==", 5, "expected a value, found the end"),
    ("a == )", 6, "expected a value, found ')'"),
    ("(a == b", 8, "expected ')' to close the parenthesis, found the end"),
    ("a[1 == b", 9, "expected ']' after an index, found the end"),
    ("a in [1, 2", 11, "expected ',' or ']', found the end"),
    ("a. == 1", 4, "expected a field or a method after '.', found '=='"),
    ("a ? b", 6, "expected ':' and what holds otherwise, found the end"),
    ('a == {"b": 1}', 6, "objects cannot be written"),
    ("a-b == 'é' && é", 15, "unexpected 'é'"),
    ("`a-b` == 1", 1, 'data["a-name"]'),
    ("package == 1", 1, "for a field write data.package"),
    ("event == 1", 7, "expected '.' and a field after 'event', found '=='"),
    ('event.typ == "a"', 7, "unknown field 'event.typ'; did you mean type?"),
    ('event.entity == "a"', 7, "valid: extensions, id, key, source"),
    ('status.startswith("a")', 8, "unknown method 'startswith'; did you mean startsWith?"),
    ("items.any(i, i > 1)", 7, "unknown method 'any'"),
    ('length(status) == 1', 1, "unknown function 'length'; valid: changed, has, size"),
    ('change("status")', 1, "did you mean changed?"),
    ("exists(items, i)", 1, "'exists' is used as value.exists(...)"),
    ("items.has(a)", 7, "'has' is used as has(...)"),
    ('int(total) == 1', 1, "unknown function 'int'"),
    ("items.map(i, i) == []", 7, "unknown method 'map'"),
    ("size(a, b) == 1", 1, "size() takes one argument, not 2"),
    ("a.size(b) == 1", 3, "size() takes no argument as a method, found 1"),
    ("a.contains() == 1", 3, "contains() takes one argument, found 0"),
    ("has(a[0])", 1, "has() takes a field"),
    ("has(1 + 1)", 1, "has() takes a field"),
    ("has(event)", 10, "expected '.' and a field after 'event'"),
    ("changed(status)", 1, "takes the name of a field in quotes"),
    ('changed("a..b")', 1, "takes the name of a field in quotes"),
    ("a.matches(b)", 11, "takes its pattern as a string"),
    ('a == "b" && c.matches("(x")', 23, "matches(): expected ')' (character 3 of the pattern)"),
    ("items.exists(i.a, true)", 15, "expected ',' after exists(i, found '.'"),
    ("items.exists(1, true)", 14, "expected a name for the element, as in exists(x, x > 1)"),
    ("items.exists(data, true)", 14, "'data' is taken"),
    ("items.exists(i)", 15, "expected ',' after exists(i, found ')'"),
    ("1 + 2", 1, "must be true or false, this is always a number"),
    ("a && b ? 'x' : 'y'", 1, "must be true or false, this is always a string"),
    ("null", 1, "must be true or false, this is always null"),
    ("[a]", 1, "this is always a list"),
    ("a.exists(x, a.exists(x, a.exists(x, a.exists(x, x))))", 39, "macros are nested more than 3"),
    ("(" * 40 + "a" + ")" * 40, 31, "nested more than 30 deep"),
    ("!" * 40 + "a", 31, "nested more than 30 deep"),
    ("1" + " + 1" * 40 + " == 41", 1, "nested more than 30 deep"),
    ("a" * 5000, 4097, "at most 4096 characters, this one has 5000"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "message"), MISTAKES)
def test_a_mistake_says_where_it_is_and_what_to_write(text: str, column: int, message: str) -> None:
    with pytest.raises(ConditionSyntaxError) as caught:
        parse(text)
    assert message in caught.value.message
    assert caught.value.column == column


@pytest.mark.parametrize(
    "text",
    [
        " || ".join(f"a == {number}" for number in range(300)),
        "a in [" + ", ".join(map(str, range(700))) + "]",
        "a" + ".b" * 25 + " == 1 || a == 1",
        "(" * 14 + "a == 1 ? b : c" + ")" * 14,
        "!" * 26 + "(a == 1)",
        "a" + " + 1" * 26 + " == 27",
        "a == 2 ? b : " * 26 + "a == 1",
        "[" * 26 + "a" + "]" * 26 + " == " + "[" * 26 + "1" + "]" * 26,
        "l.exists(x, l.all(y, l.exists_one(z, z == 1 && x == y)))",
    ],
)
def test_what_is_within_the_bounds_compiles_and_runs(text: str) -> None:
    assert function(text)({"data": {"a": 1, "b": True, "l": [1]}}) is True
