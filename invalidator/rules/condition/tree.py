"""The syntax tree of a condition."""

from collections.abc import Iterator
from itertools import chain
from typing import Literal as OneOf

from msgspec import Struct

from invalidator.rules.condition.pattern import Pattern

ROOTS = ("data", "event", "root", "headers", "before", "after", "match")
EVENT_FIELDS = ("type", "id", "source", "time", "key", "subject", "extensions")

Kind = OneOf["bool", "number", "string", "null", "list", "any"]


class Node(Struct, frozen=True):
    column: int  # from 1, where it begins in the text


class Literal(Node, frozen=True):
    value: str | int | float | bool | None


class ListOf(Node, frozen=True):
    items: tuple[Node, ...]


class Root(Node, frozen=True):
    """The start of a path: one of ROOTS, with the fields of `event` as "event.type"."""

    name: str


class Variable(Node, frozen=True):
    """The name that a macro such as exists() gives to each element."""

    name: str


class Select(Node, frozen=True):
    of: Node
    name: str


class Index(Node, frozen=True):
    of: Node
    key: Node


class Has(Node, frozen=True):
    of: Node
    name: str


class Changed(Node, frozen=True):
    path: tuple[str, ...]  # the same path in `before` and in `after`


class Unary(Node, frozen=True):
    operator: OneOf["!", "-"]
    operand: Node


class Binary(Node, frozen=True):
    operator: str  # arithmetic, a comparison or "in"
    left: Node
    right: Node


class Logic(Node, frozen=True):
    """A whole chain of && or of ||, flat, so that a long one is not deep."""

    operator: OneOf["&&", "||"]
    operands: tuple[Node, ...]


class Choice(Node, frozen=True):
    test: Node
    then: Node
    other: Node


class Call(Node, frozen=True):
    name: OneOf["size", "startsWith", "endsWith", "contains"]
    arguments: tuple[Node, ...]  # a method's receiver comes first


class Matches(Node, frozen=True):
    of: Node
    pattern: Pattern


class Macro(Node, frozen=True):
    name: OneOf["exists", "all", "exists_one", "filter"]
    of: Node
    variable: str
    body: Node


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes in a node's fields, in the order of the text."""
    values = [getattr(node, name) for name in node.__struct_fields__]
    flat = chain.from_iterable(value if type(value) is tuple else (value,) for value in values)
    return tuple(value for value in flat if isinstance(value, Node))


def depth(node: Node) -> int:
    deepest = 0
    waiting = [(node, 1)]
    while waiting:
        here, level = waiting.pop()
        deepest = max(deepest, level)
        waiting.extend((child, level + 1) for child in children(here))
    return deepest


def kind(node: Node) -> Kind:
    """Return the type that a node's value must have, if it is known without an event."""
    match node:
        case Literal(value=value):
            return _literal_kind(value)
        case ListOf() | Macro(name="filter"):
            return "list"
        case Has() | Changed() | Logic() | Matches() | Macro() | Unary(operator="!"):
            return "bool"
        case Binary():
            return _binary_kind(node)
        case Call(name=name):
            return "number" if name == "size" else "bool"
        case Unary():
            return "number"
        case Choice(then=then, other=other):
            return kind(then) if kind(then) == kind(other) else "any"
    return "any"


def _literal_kind(value: object) -> Kind:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    return "string" if isinstance(value, str) else "number"


def _binary_kind(node: Binary) -> Kind:
    if node.operator in ("-", "*", "/", "%"):
        return "number"
    if node.operator == "+":
        left = kind(node.left)
        return left if left in ("number", "string", "list") else kind(node.right)
    return "bool"


def label(node: Node) -> str:
    """Return the path that a node reads, as a person writes it; empty if it is not a path."""
    match node:
        case Root(name=name) | Variable(name=name):
            return name
        case Select(of=Root(name="data"), name=name):
            return name
        case Select(of=of, name=name):
            above = label(of)
            return f"{above}.{name}" if above else ""
        case Index(of=of, key=Literal(value=value)):
            above = label(of)
            shown = f'"{value}"' if isinstance(value, str) else value
            return f"{above}[{shown}]" if above else ""
    return ""


class Read(Struct, frozen=True):
    """One value that a condition reads."""

    root: str  # one of ROOTS
    path: tuple[str, ...]  # fields below it; "[]" stands for an element of a list
    column: int  # from 1


def reads(condition: Node, *, changes: bool = True) -> tuple[Read, ...]:
    """Return every value that a condition reads, by its longest path, in the order of the text.

    Without `changes` those that only changed() compares are left out.
    """
    found = dict.fromkeys(_reads(condition, {}, changes=changes))
    return tuple(sorted(found, key=lambda read: read.column))


Bound = dict[str, tuple[str, tuple[str, ...]] | None]  # a macro's variable: root and path, if known


def _reads(node: Node, bound: Bound, *, changes: bool = True) -> Iterator[Read]:
    if isinstance(node, Changed):
        for root in ("before", "after") if changes else ():
            yield Read(root, node.path, node.column)
        return
    place = _place(node, bound)
    if place is not None:
        yield Read(*place, node.column)
        while isinstance(node, Select | Has | Index):  # the computed keys inside the path
            if isinstance(node, Index):
                yield from _reads(node.key, bound, changes=changes)
            node = node.of
        return
    if isinstance(node, Macro):
        yield from _reads(node.of, bound, changes=changes)
        below = _place(node.of, bound)
        element = None if below is None else (below[0], (*below[1], "[]"))
        yield from _reads(node.body, {**bound, node.variable: element}, changes=changes)
        return
    for child in children(node):
        yield from _reads(child, bound, changes=changes)


def _place(node: Node, bound: Bound) -> tuple[str, tuple[str, ...]] | None:
    match node:
        case Root(name=name):
            root, _, rest = name.partition(".")
            return root, ((rest,) if rest else ())
        case Variable(name=name):
            return bound[name]
        case Select(of=of, name=name) | Has(of=of, name=name):
            return _below(of, name, bound)
        case Index(of=of, key=Literal(value=str() as name)):
            return _below(of, name, bound)
        case Index(of=of):
            return _below(of, "[]", bound)
    return None


def _below(node: Node, name: str, bound: Bound) -> tuple[str, tuple[str, ...]] | None:
    above = _place(node, bound)
    return None if above is None else (above[0], (*above[1], name))
