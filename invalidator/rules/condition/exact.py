"""Evaluate a condition exactly: slowly, but it knows what failed, and && and || absorb errors.

Compiled code stops at the first failure; then this decides.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from invalidator.errors import ConditionError
from invalidator.rules.condition import runtime, tree
from invalidator.rules.condition.runtime import helper
from invalidator.rules.condition.tree import Node, label


def decide(condition: Node, roots: Mapping[str, Any]) -> bool:
    """Return whether the condition holds, or raise a ConditionError that names the field."""
    try:
        return _Walk(roots, {}, 1).boolean(condition)
    except RecursionError:
        raise ConditionError("the data are nested too deep to be compared") from None
    except ArithmeticError:
        raise ConditionError("a number is too large for arithmetic") from None


class _Walk:
    def __init__(self, roots: Mapping[str, Any], variables: dict[str, Any], around: int) -> None:
        self.roots = roots
        self.variables = variables
        self.around = around  # the number of elements that the loops around this visit

    def value(self, node: Node) -> Any:
        """Return the value, by the method that is called as the kind of node."""
        return getattr(self, type(node).__name__.lower())(node)

    def boolean(self, node: Node) -> bool:
        return bool(_blaming((node,), runtime.boolean, self.value(node)))

    def literal(self, node: tree.Literal) -> Any:
        return node.value

    def listof(self, node: tree.ListOf) -> Any:
        return [self.value(item) for item in node.items]

    def variable(self, node: tree.Variable) -> Any:
        return self.variables[node.name]

    def root(self, node: tree.Root) -> Any:
        return self.roots[node.name] if node.name in self.roots else runtime.absent(node.name)

    def select(self, node: tree.Select) -> Any:
        of = self.value(node.of)
        if type(of) is dict and node.name in of:
            return of[node.name]
        path = label(node) or node.name
        if type(of) is dict:
            raise ConditionError(f"no field '{path}'", path)
        above = label(node.of)
        shown = f"'{above}' is {runtime.describe(of)} and" if above else runtime.describe(of)
        raise ConditionError(f"{shown} has no field '{node.name}'", path)

    def index(self, node: tree.Index) -> Any:
        return _blaming((node,), runtime.index, self.value(node.of), self.value(node.key))

    def binary(self, node: tree.Binary) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if node.operator == "in":
            return _blaming((node.right,), runtime.within, left, right, self.around)
        return _blaming((node.left, node.right), helper(node.operator), left, right)

    def unary(self, node: tree.Unary) -> Any:
        if node.operator == "!":
            return not self.boolean(node.operand)
        return _blaming((node.operand,), runtime.negate, self.value(node.operand))

    def choice(self, node: tree.Choice) -> Any:
        return self.value(node.then if self.boolean(node.test) else node.other)

    def call(self, node: tree.Call) -> Any:
        values = [self.value(argument) for argument in node.arguments]
        pairs = zip(node.arguments, values, strict=True)
        wrong = tuple(argument for argument, value in pairs if type(value) is not str)
        return _blaming(wrong, helper(node.name), *values)

    def matches(self, node: tree.Matches) -> Any:
        return _blaming((node.of,), node.pattern.search, self.value(node.of))

    def has(self, node: tree.Has) -> Any:
        return _blaming((node.of,), runtime.has, self.value(node.of), node.name)

    def changed(self, node: tree.Changed) -> bool:
        before, after = self.root(tree.Root(0, "before")), self.root(tree.Root(0, "after"))
        return runtime.changed(before, after, node.path)

    def logic(self, node: tree.Logic) -> bool:
        decisive = node.operator == "||"  # a single true decides an ||, a single false an &&
        return _any(decisive, (partial(self.boolean, one) for one in node.operands))

    def macro(self, node: tree.Macro) -> Any:
        items = _blaming((node.of,), runtime.elements, self.value(node.of), self.around)
        around = self.around * len(items)
        walks = [_Walk(self.roots, {**self.variables, node.variable: x}, around) for x in items]
        match node.name:
            case "exists" | "all":
                tests = (partial(walk.boolean, node.body) for walk in walks)
                return _any(node.name == "exists", tests)
            case "exists_one":
                return [walk.boolean(node.body) for walk in walks].count(True) == 1
            case "filter":
                pairs = zip(items, walks, strict=True)
                return [item for item, walk in pairs if walk.boolean(node.body)]


def _any(decisive: bool, tests: Iterable[Callable[[], bool]]) -> bool:
    """Return the decisive answer if any test gives it, whatever other tests fail."""
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


def _blaming(nodes: tuple[Node, ...], operation: Callable[..., Any], *values: Any) -> Any:
    """Return the operation's result, or name the first of these nodes that is a path."""
    try:
        return operation(*values)
    except ConditionError as error:
        path = next(filter(None, map(label, nodes)), "")
        shown = f"'{path}': {error.message}" if path else error.message
        raise ConditionError(shown, path or error.path) from None
