"""A condition, walked: slow, but it knows what failed and lets && and || absorb errors as CEL does.

Compiled code stops at the first thing that goes wrong; then this decides.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from invalidator.rules.condition import runtime
from invalidator.rules.condition.errors import ConditionError
from invalidator.rules.condition.tree import (
    Binary,
    Call,
    Changed,
    Choice,
    Has,
    Index,
    ListOf,
    Literal,
    Logic,
    Macro,
    Matches,
    Node,
    Root,
    Select,
    Unary,
    Variable,
    label,
)

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": runtime.equal,
    "!=": runtime.unequal,
    "<": runtime.less,
    "<=": runtime.less_equal,
    ">": runtime.greater,
    ">=": runtime.greater_equal,
    "+": runtime.add,
    "-": runtime.subtract,
    "*": runtime.multiply,
    "/": runtime.divide,
    "%": runtime.remainder,
}
CALLS: dict[str, Callable[..., Any]] = {
    "size": runtime.size,
    "startsWith": runtime.starts_with,
    "endsWith": runtime.ends_with,
    "contains": runtime.contains,
}


def decide(condition: Node, roots: Mapping[str, Any]) -> bool:
    """Whether the condition holds, or a ConditionError that names the field to blame."""
    try:
        return _Walk(roots, {}, 1).boolean(condition)
    except RecursionError:
        raise ConditionError("the data are nested too deep to be compared") from None
    except ArithmeticError:
        raise ConditionError("a number is too large to be calculated with") from None


class _Walk:
    def __init__(self, roots: Mapping[str, Any], variables: dict[str, Any], around: int) -> None:
        self.roots = roots
        self.variables = variables
        self.around = around  # how many elements the loops around this visit

    def boolean(self, node: Node) -> bool:
        return bool(_blaming(node, runtime.boolean, self.value(node)))

    def value(self, node: Node) -> Any:
        match node:
            case Literal(value=value):
                return value
            case Root(name=name):
                return self.roots[name] if name in self.roots else runtime.absent(name)
            case Variable(name=name):
                return self.variables[name]
            case Select():
                return self.select(node)
            case Index(of=of, key=key):
                return _blaming(node, runtime.index, self.value(of), self.value(key))
            case ListOf(items=items):
                return [self.value(item) for item in items]
            case Logic():
                return self.logic(node)
            case Choice(test=test, then=then, other=other):
                return self.value(then if self.boolean(test) else other)
            case Macro():
                return self.macro(node)
        return self.operation(node)

    def operation(self, node: Node) -> Any:
        match node:
            case Binary(operator="in", left=left, right=right):
                values = self.value(left), self.value(right)
                return _blaming(right, runtime.within, *values, self.around)
            case Binary(operator=operator, left=left, right=right):
                blamed = left if label(left) else right
                return _blaming(blamed, OPERATORS[operator], self.value(left), self.value(right))
            case Unary(operator="!", operand=operand):
                return not self.boolean(operand)
            case Unary(operand=operand):
                return _blaming(operand, runtime.negate, self.value(operand))
            case Call(name=name, arguments=arguments):
                return _blaming(arguments[0], CALLS[name], *map(self.value, arguments))
            case Matches(of=of, pattern=pattern):
                return _blaming(of, pattern.search, self.value(of))
            case Has(of=of, name=name):
                return _blaming(of, runtime.has, self.value(of), name)
            case Changed(path=path):
                return runtime.changed(self.row("before"), self.row("after"), path)
        raise AssertionError(f"a node without a meaning: {node}")

    def row(self, root: str) -> Any:
        return self.value(Root(0, root))

    def select(self, node: Select) -> Any:
        of = self.value(node.of)
        path = label(node) or node.name
        if type(of) is not dict:
            above = label(node.of)
            shown = f"'{above}' is {runtime.describe(of)} and" if above else runtime.describe(of)
            raise ConditionError(f"{shown} has no field '{node.name}'", path)
        if node.name not in of:
            raise ConditionError(f"no field '{path}'", path)
        return of[node.name]

    def logic(self, node: Logic) -> bool:
        decisive = node.operator == "||"  # a single true decides an ||, a single false an &&
        return self.any(decisive, (partial(self.boolean, one) for one in node.operands))

    def any(self, decisive: bool, tests: Iterable[Callable[[], bool]]) -> bool:
        """The decisive answer if any test gives it, whatever fails beside it."""
        failure: ConditionError | None = None
        for test in tests:
            try:
                if test() is decisive:
                    return decisive
            except ConditionError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return not decisive

    def macro(self, node: Macro) -> Any:
        items = _blaming(node.of, runtime.elements, self.value(node.of), self.around)
        around = self.around * len(items)
        walks = [_Walk(self.roots, {**self.variables, node.variable: x}, around) for x in items]
        match node.name:
            case "exists" | "all":
                tests = (partial(walk.boolean, node.body) for walk in walks)
                return self.any(node.name == "exists", tests)
            case "exists_one":
                return [walk.boolean(node.body) for walk in walks].count(True) == 1
            case "filter":
                pairs = zip(items, walks, strict=True)
                return [item for item, walk in pairs if walk.boolean(node.body)]


def _blaming(node: Node, operation: Callable[..., Any], *values: Any) -> Any:
    try:
        return operation(*values)
    except ConditionError as error:
        path = label(node)
        shown = f"'{path}': {error.message}" if path else error.message
        raise ConditionError(shown, path or error.path) from None
