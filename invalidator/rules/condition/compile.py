"""Compile a condition to a Python expression that is as cheap as one written by hand.

An author's text only enters the source as literals that `ascii()` wrote: names are keys of dicts,
patterns and sets are objects among the globals.

Where JSON's types allow it, Python's own operators do the work: a comparison with a string needs
no guard, since only an equal string equals it. The rest goes through the helpers of runtime.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec import Struct

from invalidator.rules.condition import runtime, tree
from invalidator.rules.condition.exact import decide
from invalidator.rules.condition.tree import Node, children, kind

PREFIX = "_c_"  # of every name that a fragment uses: no other name may begin so
MANY = 8  # strings in a list from which on a set is faster
ARITHMETIC = ("+", "-", "*", "/", "%")
METHODS = {"startsWith": "startswith", "endsWith": "endswith"}


class Fragment(Struct, frozen=True):
    """A condition as Python source, to be placed into a larger function.

    `expression` is True or False, or raises some Exception. Only then `exact` is evaluated, with
    the same variables in scope: it gives CEL's answer where an error does not matter
    (`broken || true`), or raises ConditionError, and nothing else.
    """

    expression: str
    exact: str
    globals: dict[str, Any]  # what both need; equal names mean equal things in all fragments

    def assign(self, target: str) -> tuple[str, ...]:
        """Return the lines that assign the answer to a variable, or raise ConditionError."""
        return (
            "try:",
            f"    {target} = {self.expression}",
            "except Exception:",
            f"    {target} = {self.exact}",
        )


def to_python(condition: Node, roots: Mapping[str, str]) -> Fragment:
    """Compile a condition to Python source.

    `roots` has the Python expression of each root: "data", "headers", "before", "after", "match",
    and "event.type", "event.id"... for the fields of the event (null where it has none). They must
    not raise, and may be evaluated any number of times. These events have no other root: reading
    one is a ConditionError.
    """
    writer = _Writer(roots)
    expression = writer.boolean(condition)
    exact = f"{PREFIX}exact_{_digest(repr(condition))}"
    writer.globals[exact] = partial(decide, condition)
    used = sorted(roots_of(condition) & roots.keys())
    given = ", ".join(f"{name!a}: {roots[name]}" for name in used)
    return Fragment(expression, f"{exact}({{{given}}})", writer.globals)


def roots_of(node: Node) -> set[str]:
    if isinstance(node, tree.Root):
        return {node.name}
    if isinstance(node, tree.Changed):
        return {"before", "after"}
    return set().union(*map(roots_of, children(node)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _Writer:
    def __init__(self, roots: Mapping[str, str]) -> None:
        self.roots = roots
        self.globals: dict[str, Any] = {}
        self.variables: dict[str, str] = {}
        self.loops: list[str] = []  # the Python names of the lists that are being visited

    def call(self, helper: str, *arguments: str) -> str:
        name = PREFIX + helper
        self.globals[name] = getattr(runtime, helper)
        return f"{name}({', '.join(arguments)})"

    def constant(self, what: str, key: str, value: object) -> str:
        name = f"{PREFIX}{what}_{_digest(key)}"
        self.globals[name] = value
        return name

    def around(self) -> tuple[str, ...]:
        """Return the last argument of helpers that loop: how many elements outer loops visit."""
        if not self.loops:
            return ()
        return (" * ".join(f"len({name})" for name in self.loops),)

    def boolean(self, node: Node) -> str:
        source = self.value(node)
        return source if kind(node) == "bool" else self.call("boolean", source)

    def value(self, node: Node) -> str:
        match node:
            case tree.Literal(value=value):
                return f"({value!a})" if isinstance(value, int | float) else ascii(value)
            case tree.Root(name=name):
                return self.roots.get(name) or self.call("absent", ascii(name))
            case tree.Variable(name=name):
                return self.variables[name]
            case tree.Select(of=of, name=name):
                return self.field(of, name)
            case tree.Index(of=of, key=tree.Literal(value=str() as name)):
                return self.field(of, name)
            case tree.Index(of=of, key=key):
                return self.call("index", self.value(of), self.value(key))
            case tree.ListOf(items=items):
                return f"[{', '.join(map(self.value, items))}]"
            case tree.Logic(operator=operator, operands=operands):
                word = " and " if operator == "&&" else " or "
                return f"({word.join(map(self.boolean, operands))})"
            case tree.Choice(test=test, then=then, other=other):
                return f"({self.value(then)} if {self.boolean(test)} else {self.value(other)})"
            case tree.Macro():
                return self.macro(node)
        return self.operation(node)

    def operation(self, node: Node) -> str:
        match node:
            case tree.Binary():
                return self.binary(node)
            case tree.Unary(operator="!", operand=operand):
                return f"(not {self.boolean(operand)})"
            case tree.Unary(operand=operand):
                return self.call("negate", self.value(operand))
            case tree.Call():
                return self.method(node)
            case tree.Matches(of=of, pattern=pattern):
                search = self.constant("search", pattern.text, pattern.search)
                return f"{search}({self.value(of)})"
            case tree.Has(of=of, name=name):
                return self.call("has", self.value(of), ascii(name))
            case tree.Changed(path=path):
                rows = self.value(tree.Root(0, "before")), self.value(tree.Root(0, "after"))
                return self.call("changed", *rows, ascii(path))
        raise AssertionError(f"a node without a meaning: {node}")

    def field(self, of: Node, name: str) -> str:
        # A dict returns the value or raises KeyError, any other JSON value raises TypeError.
        if isinstance(of, tree.Root | tree.Variable | tree.Select | tree.Index):
            return f"{self.value(of)}[{name!a}]"
        return self.call("field", self.value(of), ascii(name))

    def method(self, node: tree.Call) -> str:
        arguments = [self.value(argument) for argument in node.arguments]
        if node.name == "size":
            return f"len({arguments[0]})"  # TypeError for values without a size
        if node.name == "contains":
            return self.call("contains", *arguments)
        # Of all JSON values only a string has these methods, and they take only strings.
        return f"{arguments[0]}.{METHODS[node.name]}({arguments[1]})"

    def binary(self, node: tree.Binary) -> str:
        operator, left, right = node.operator, node.left, node.right
        if operator in ("==", "!="):
            same = self.equal(left, right)
            return same if operator == "==" else f"(not {same})"
        if operator == "in":
            return self.within(left, right)
        sides = self.value(left), self.value(right)
        if operator in ARITHMETIC:
            return self.call(runtime.HELPERS[operator], *sides)
        if "string" in (kind(left), kind(right)):
            return f"({sides[0]} {operator} {sides[1]})"  # TypeError unless both are strings
        if "number" in (kind(left), kind(right)):
            return f"({self.number(left)} {operator} {self.number(right)})"
        return self.call(runtime.HELPERS[operator], *sides)

    def number(self, node: Node) -> str:
        source = self.value(node)
        return source if kind(node) == "number" else self.call("number", source)

    def equal(self, left: Node, right: Node) -> str:
        if isinstance(left, tree.Literal) and not isinstance(right, tree.Literal):
            left, right = right, left
        sides = self.value(left), self.value(right)
        if isinstance(right, tree.Literal) and not isinstance(left, tree.Literal):
            return _equals_literal(sides[0], right.value)
        if "string" in (kind(left), kind(right)):
            return f"({sides[0]} == {sides[1]})"
        return self.call("equal", *sides)

    def within(self, value: Node, of: Node) -> str:
        if isinstance(of, tree.ListOf) and of.items and all(map(_plain, of.items)):
            if len(of.items) >= MANY and all(kind(item) == "string" for item in of.items):
                known = frozenset(item.value for item in of.items if isinstance(item, tree.Literal))
                name = self.constant("set", repr(sorted(map(str, known))), known)
                return self.call("within_strings", self.value(value), name)
            return f"({self.value(value)} in ({''.join(f'{self.value(i)}, ' for i in of.items)}))"
        return self.call("within", self.value(value), self.value(of), *self.around())

    def macro(self, node: tree.Macro) -> str:
        items = self.call("elements", self.value(node.of), *self.around())
        level = len(self.loops)
        several, one = f"{PREFIX}list{level}", f"{PREFIX}item{level}"
        outer = self.variables
        self.variables = {**outer, node.variable: one}
        self.loops.append(several)
        body = self.boolean(node.body)
        self.loops.pop()
        self.variables = outer
        loop = f"for {several} in ({items},) for {one} in {several}"
        match node.name:
            case "exists" | "all":
                return f"{'any' if node.name == 'exists' else 'all'}({body} {loop})"
            case "exists_one":
                return f"([{body} {loop}].count(True) == 1)"
            case "filter":
                return f"[{one} {loop} if {body}]"


def _plain(node: Node) -> bool:
    """Return whether `in` compares with this literal as CEL does: 0 and 1 equal booleans."""
    return (
        isinstance(node, tree.Literal)
        and not isinstance(node.value, bool)
        and (node.value is None or isinstance(node.value, str) or node.value not in (0, 1))
    )


def _equals_literal(source: str, value: str | int | float | bool | None) -> str:
    if value is None or isinstance(value, bool):
        return f"({source} is {value})"
    if not isinstance(value, str) and value in (0, 1):
        return f"({value!a} == {source} is not {bool(value)})"  # chained: one evaluation
    return f"({source} == {value!a})"
