"""Conditions answer as a CEL library does, and compiled ones as the exact evaluation.

The oracle is Google's CEL in C++. docs/conditions.md lists our own differences from CEL; they are
not generated here.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import re2
from cel_expr_python import cel
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from invalidator.rules.condition import ConditionError, ConditionSyntaxError, parse
from invalidator.rules.condition.exact import decide
from invalidator.rules.condition.parser import MAX_MACROS
from invalidator.rules.condition.pattern import Pattern, PatternError
from tests.conditions import function

PATTERNS = ("^a", "b$", "a|b", "[a-c]+c", "^(a|bc)*$", "a.c", "", "x?y{2,3}", r"^\d+$", "^[^a]*$")
FAILED = "an error"
ENVIRONMENT = cel.NewEnv()


@dataclass(frozen=True)
class Numbers:
    """The numbers that one example uses. CEL rejects `1 + 1.5`, we do not, so one example has
    arithmetic on integers, arithmetic on floats, or both kinds and no arithmetic."""

    values: st.SearchStrategy[int | float]
    operators: tuple[str, ...]


INTEGERS = st.integers(-9, 9) | st.sampled_from([2**63 - 1, -(2**63), 2**31, -(2**62), 2**53 + 1])
FLOATS = st.integers(-64, 64).map(lambda number: number / 8)
ANY_NUMBERS = (
    Numbers(INTEGERS, ("+", "-", "*", "/", "%")),
    Numbers(FLOATS, ("+", "-", "*", "/", "%")),
    Numbers(INTEGERS | FLOATS, ()),
)
STRINGS = st.sampled_from(
    ["", "a", "b", "abc", "bca", "k", "m", "é🎉", "0", "12", "it's", 'a"\\\n']
)


def json_values(numbers: Numbers) -> st.SearchStrategy[Any]:
    scalars = st.none() | st.booleans() | numbers.values | STRINGS
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("km"), inner, max_size=2)
        ),
        max_leaves=5,
    )


def events(numbers: Numbers) -> st.SearchStrategy[dict[str, Any]]:
    """Draw events mostly of the types that `Writer` expects; rarely a field is something else."""
    anything = json_values(numbers)
    row = st.fixed_dictionaries({"k": STRINGS, "m": numbers.values}, optional={"o": anything})
    usual = {
        "i": numbers.values,
        "j": numbers.values,
        "s": STRINGS,
        "t": STRINGS,
        "flag": st.booleans(),
        "codes": st.lists(STRINGS, max_size=4),
        "counts": st.lists(numbers.values, max_size=4),
        "rows": st.lists(row, max_size=3),
        "row": row,
        "thing": anything,
    }
    unusual = st.dictionaries(st.sampled_from(sorted(usual)), anything, max_size=2)
    return st.builds(dict.__or__, st.fixed_dictionaries(usual), st.just({}) | unusual)


def written(value: object) -> str:
    """Return a value as a literal of CEL."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return repr(value)
    plain = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{plain}"'


Scope = tuple[tuple[str, str], ...]  # macros' variables, each with what it holds


@dataclass(frozen=True)
class Writer:
    """Draws expressions that make sense, and now and then a part that does not."""

    draw: Any
    numbers: Numbers

    def pick(self, *choices: str) -> str:
        return str(self.draw(st.sampled_from(choices)))

    def rarely(self) -> bool:
        return bool(self.draw(st.integers(0, 11)) == 11)

    def any(self, depth: int, scope: Scope) -> str:
        kinds = [self.number, self.text, self.flag, self.odd]
        kinds += [self.test, self.list] * (depth > 0)
        return str(self.draw(st.sampled_from(kinds))(depth - 1, scope))

    def odd(self, depth: int, scope: Scope) -> str:
        strange = ("null", "missing", "row.absent", "thing", "thing.k", "thing[0]", "[]", "s.k")
        return self.pick(*strange, "counts[9]", "counts[true]", "counts[-1]", "row[0]", "[true][0]")

    def named(self, kind: str, scope: Scope, *fields: str) -> str:
        """Return a field of the event, or a variable in scope, that should be of this kind."""
        own = [name for name, held in scope if held == kind]
        rows = [name for name, held in scope if held == "row"]
        key = {"number": "m", "text": "k"}.get(kind)
        below = [f"{name}.{key}" for name in rows] if key else []
        return self.pick(*fields, *own * 3, *below * 3)

    def test(self, depth: int, scope: Scope) -> str:
        """Return an expression that is true or false."""
        if self.rarely():
            return self.odd(depth, scope)
        leaves = [self.compare, self.compare, self.member, self.string_test, self.has, self.flag]
        inner = [self.logic, self.logic, self.negation, self.choice]
        inner += [self.macro, self.macro] * (len(scope) < MAX_MACROS)
        kinds = leaves + inner * (depth > 0)
        return str(self.draw(st.sampled_from(kinds))(depth - 1, scope))

    def flag(self, depth: int, scope: Scope) -> str:
        return self.pick("flag", "true", "false")

    def logic(self, depth: int, scope: Scope) -> str:
        parts = [self.test(depth, scope) for _ in range(self.draw(st.integers(2, 3)))]
        return "(" + self.pick(" && ", " || ").join(parts) + ")"

    def negation(self, depth: int, scope: Scope) -> str:
        return f"!{self.test(depth, scope)}"

    def choice(self, depth: int, scope: Scope) -> str:
        test, then, other = (self.test(depth, scope) for _ in range(3))
        return f"({test} ? {then} : {other})"

    def compare(self, depth: int, scope: Scope) -> str:
        kinds = (self.number, self.number, self.text)
        kind = self.any if self.rarely() else self.draw(st.sampled_from(kinds))
        sides = [kind(depth, scope) for _ in range(2)]
        return f"({sides[0]} {self.pick('==', '!=', '<', '<=', '>', '>=')} {sides[1]})"

    def member(self, depth: int, scope: Scope) -> str:
        if self.rarely():
            return f"({self.any(depth, scope)} in {self.any(depth, scope)})"
        if self.draw(st.booleans()):
            return f"({self.text(depth, scope)} in {self.pick('codes', 'row')})"
        return f"({self.any(depth, scope)} in {self.list(depth, scope)})"

    def string_test(self, depth: int, scope: Scope) -> str:
        of = self.text(0, scope)
        method = self.pick("startsWith", "endsWith", "contains", "matches")
        part = written(self.pick(*PATTERNS)) if method == "matches" else self.text(0, scope)
        return f"{of}.{method}({part})"

    def has(self, depth: int, scope: Scope) -> str:
        rows = [name for name, held in scope if held == "row"]
        of = self.pick("row", "row", "thing", "missing", *rows * 3)
        return f"has({of}.{self.pick('k', 'm', 'o', 'absent')})"

    def macro(self, depth: int, scope: Scope) -> str:
        name = self.pick("exists", "all", "exists_one")
        of = self.pick("codes", "counts", "rows", "row", "thing")
        held = {"codes": "text", "counts": "number", "rows": "row", "row": "text"}.get(of, "any")
        variable = f"x{len(scope)}"
        return f"{of}.{name}({variable}, {self.test(depth, (*scope, (variable, held)))})"

    def list(self, depth: int, scope: Scope) -> str:
        if self.draw(st.booleans()):
            return self.pick("codes", "counts", "rows")
        items = [self.any(depth - 2, scope) for _ in range(self.draw(st.integers(0, 3)))]
        return f"[{', '.join(items)}]"

    def text(self, depth: int, scope: Scope) -> str:
        if self.rarely():
            return self.odd(depth, scope)
        if depth > 0 and self.rarely():
            return f"({self.text(depth - 1, scope)} + {self.text(depth - 1, scope)})"
        if self.draw(st.booleans()):
            return written(self.draw(STRINGS))
        return self.named("text", scope, "s", "t", "row.k", 'row["k"]', "codes[0]", "rows[0].k")

    def number(self, depth: int, scope: Scope) -> str:
        if self.rarely():
            return self.odd(depth, scope)
        if depth > 0 and self.numbers.operators and self.draw(st.booleans()):
            return self.arithmetic(depth - 1, scope)
        if self.draw(st.booleans()):
            return written(self.draw(self.numbers.values))
        return self.named("number", scope, "i", "j", "row.m", "counts[0]", "rows[0].m")

    def arithmetic(self, depth: int, scope: Scope) -> str:
        operator = self.pick(*self.numbers.operators)
        minus = self.pick("", "", "-")
        sides = [self.number(depth, scope) for _ in range(2)]
        return f"{minus}({sides[0]} {operator} {sides[1]})"


@st.composite
def examples(draw: Any) -> tuple[str, dict[str, Any]]:
    numbers = draw(st.sampled_from(ANY_NUMBERS))
    writer = Writer(draw, numbers)
    kinds = (writer.logic, writer.negation, writer.compare, writer.member, writer.macro)
    text = draw(st.sampled_from(kinds))(3, ())
    assume(len(text) < 2000)
    return text, draw(events(numbers))


def theirs(text: str, data: dict[str, Any]) -> object:
    # Not checked: a checker rejects `1 == "a"`, which is false for a field that holds "a".
    program = ENVIRONMENT.compile(text, disable_check=True)  # a syntax error fails the test
    answer = program.eval(data=data).plain_value()
    return answer if isinstance(answer, bool) else FAILED


def ours(text: str, data: dict[str, Any]) -> object:
    try:
        return function(text)({"data": data})
    except ConditionError:
        return FAILED


def walked(text: str, data: dict[str, Any]) -> object:
    try:
        return decide(parse(text), {"data": data})
    except ConditionError:
        return FAILED


@given(examples())
@settings(max_examples=150)
def test_a_condition_answers_as_cel_does(example: tuple[str, dict[str, Any]]) -> None:
    text, data = example
    assert ours(text, data) is theirs(text, data), (text, data)


@given(examples())
@settings(max_examples=120)
def test_compiled_and_walked_conditions_agree(example: tuple[str, dict[str, Any]]) -> None:
    text, data = example
    assert ours(text, data) is walked(text, data), (text, data)


ATOMS = ("a", "B", ".", "[ab]", "[^a-z]", r"\d", r"\W", r"\b", r"\pL", "(a|b)", "(?:ab)", "(b|)",
         "(?i)", "(?i:k)", "(?-i)", "[^é]", "^", "$")  # fmt: skip
COUNTS = ("", "", "", "*", "+", "?", "{2}", "{1,2}", "{0}", "{1,}", "*?")
PIECES = st.builds(str.__add__, st.sampled_from(ATOMS), st.sampled_from(COUNTS))
SEQUENCES = st.lists(PIECES, max_size=5).map("".join)
REGEXES = st.recursive(
    SEQUENCES,
    lambda inner: (
        st.builds("{}|{}".format, inner, inner)
        | st.builds("({}){}{}".format, inner, st.sampled_from(COUNTS), SEQUENCES)
    ),
    max_leaves=4,
)


@given(
    st.sampled_from(("", "(?i)", "(?s)", "(?m)", "(?U)", "(?ims)")),
    REGEXES,
    st.lists(st.text("aAbBkK1.\né \u212a", max_size=8), min_size=3, max_size=3),
)
@settings(max_examples=300)
def test_a_pattern_matches_what_re2_matches(flags: str, pattern: str, texts: list[str]) -> None:
    pattern = flags + pattern
    try:
        known = re2.compile(pattern)
    except re2.error:
        with pytest.raises(PatternError):
            Pattern(pattern)
        return
    own = Pattern(pattern)
    for text in texts:
        assert own.search(text) is (known.search(text) is not None), (pattern, text)
        assert theirs("t.matches(p)", {"t": text, "p": pattern}) is own.search(text)


SNIPPETS = """a && || ! == != < in ( ) [ ] ? : , . - + * / % 1 1.5 0x 1e 'a' "b r' \\ true null has(
size( event. data before match exists( x, .matches('[a') changed( // { = & é"""


@given(
    st.lists(st.sampled_from(SNIPPETS.split()), max_size=12).map(" ".join) | st.text(max_size=40)
)
@settings(max_examples=200)
def test_any_text_is_a_condition_or_has_a_mistake_in_some_column(text: str) -> None:
    column = 1
    try:
        parse(text)
    except ConditionSyntaxError as error:
        column = error.column
    assert 1 <= column <= len(text) + 1


@given(st.text("()[]{}|*+?.^$\\dxz-,09aP<>:=!i", max_size=20))
@settings(max_examples=200)
def test_any_text_is_a_pattern_or_says_why_not(text: str) -> None:
    with suppress(PatternError):
        Pattern(text).search("a09-i")
