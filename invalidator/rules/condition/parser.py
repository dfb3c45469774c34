"""Parse a condition by recursive descent: the part of CEL's grammar that we offer."""

from functools import partial
from typing import Literal, cast

from invalidator.errors import ConditionSyntaxError
from invalidator.rules.condition import tree
from invalidator.rules.condition.lexer import Token, tokens
from invalidator.rules.condition.pattern import Pattern, PatternError
from invalidator.rules.condition.tree import EVENT_FIELDS, ROOTS, Node, depth, kind
from invalidator.runtime.text import nearest

MAX_DEPTH = 30  # of the tree, and of parentheses
MAX_MACROS = 3  # one inside the other

FUNCTIONS = ("changed", "has", "size")
METHODS = ("all", "contains", "endsWith", "exists", "exists_one", "filter", "matches", "size",
           "startsWith")  # fmt: skip
MACROS = ("all", "exists", "exists_one", "filter")
CONSTANTS = {"true": True, "false": False, "null": None}
# CEL reserves these words; as names of fields they need data. in front.
RESERVED = ("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
            "loop", "namespace", "package", "return", "var", "void", "while")  # fmt: skip

LEVELS = (("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
INT64 = 2**63


def parse(text: str) -> Node:
    """Parse a condition, or raise ConditionSyntaxError."""
    parser = _Parser(text)
    condition = parser.whole()
    if depth(condition) > MAX_DEPTH:
        raise ConditionSyntaxError(f"this is nested more than {MAX_DEPTH} deep", 1)
    if kind(condition) not in ("bool", "any"):
        message = f"a condition must be true or false, this is always a {kind(condition)}"
        raise ConditionSyntaxError(message.replace("a null", "null"), condition.column)
    return condition


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0
        self.variables: list[str] = []

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        token = self.token
        self.at = min(self.at + 1, len(self.tokens) - 1)  # never past the end
        return token

    def take(self, symbol: str) -> Token | None:
        found = self.token.text == symbol and self.token.kind in ("symbol", "name")
        return self.next() if found else None

    def error(self, message: str, token: Token | None = None) -> ConditionSyntaxError:
        return ConditionSyntaxError(message, (token or self.token).column)

    def expect(self, symbol: str, why: str) -> Token:
        token = self.take(symbol)
        if token is None:
            raise self.error(f"expected '{symbol}' {why}, found {self.token}")
        return token

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"this is nested more than {MAX_DEPTH} deep")

    def whole(self) -> Node:
        if self.token.kind == "end":
            raise self.error("a condition cannot be empty")
        condition = self.expression()
        if self.at < len(self.tokens) - 1:
            raise self.unexpected()
        return condition

    def unexpected(self) -> ConditionSyntaxError:
        return self.error(
            f"expected an operator such as '==' or '&&', or the end, found {self.token}"
        )

    def expression(self) -> Node:
        self.deeper()
        test = self.logic("||")
        if self.take("?"):
            then = self.logic("||")
            self.expect(":", "and what holds otherwise")
            test = tree.Choice(test.column, test, then, self.expression())
        self.depth -= 1
        return test

    def logic(self, operator: Literal["||", "&&"]) -> Node:
        inner = partial(self.logic, "&&") if operator == "||" else partial(self.binary, 0)
        operands = [inner()]
        while self.take(operator):
            operands.append(inner())
        first = operands[0]
        return first if len(operands) == 1 else tree.Logic(first.column, operator, tuple(operands))

    def binary(self, level: int) -> Node:
        if level == len(LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.token.kind in ("symbol", "name") and self.token.text in LEVELS[level]:
            operator = self.next().text
            left = tree.Binary(left.column, operator, left, self.binary(level + 1))
        return left

    def unary(self) -> Node:
        token = self.take("!") or self.take("-")
        if token is None:
            return self.member(self.primary())
        if token.text == "-" and self.token.kind in ("int", "float"):
            return self.member(self.number(self.next(), -1, token.column))
        self.deeper()
        operand = self.unary()
        self.depth -= 1
        return tree.Unary(token.column, cast("Literal['!', '-']", token.text), operand)

    def member(self, node: Node) -> Node:
        while True:
            if self.take("."):
                node = self.selected(node)
            elif self.take("["):
                key = self.expression()
                self.expect("]", "after an index")
                node = tree.Index(node.column, node, key)
            else:
                return node

    def selected(self, node: Node) -> Node:
        name = self.name("a field or a method after '.'")
        if self.token.text == "(":
            return self.method(node, name)
        return tree.Select(node.column, node, name.text)

    def name(self, what: str) -> Token:
        if self.token.kind != "name":
            raise self.error(f"expected {what}, found {self.token}")
        return self.next()

    def primary(self) -> Node:
        token = self.next()
        match token.kind:
            case "string":
                return tree.Literal(token.column, token.value)
            case "int" | "float":
                return self.number(token, 1, token.column)
            case "name":
                return self.named(token)
        if token.text == "(":
            inner = self.expression()
            self.expect(")", "to close the parenthesis")
            return inner
        if token.text == "[":
            return tree.ListOf(token.column, self.several("]"))
        if token.text == "=":
            raise self.error("write '==' to compare", token)
        raise self.error(f"expected a value, found {token}", token)

    def number(self, token: Token, sign: int, column: int) -> Node:
        assert isinstance(token.value, int | float)
        value = sign * token.value
        if isinstance(value, int) and not -INT64 <= value < INT64:
            raise ConditionSyntaxError("this integer does not fit into 64 bits", column)
        return tree.Literal(column, value)

    def several(self, close: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self.take(close):
            if items:
                self.expect(",", f"or '{close}'")
                if self.take(close):  # CEL lets a list end in a comma
                    break
            items.append(self.expression())
        return tuple(items)

    def named(self, token: Token) -> Node:
        name = token.text
        if name in CONSTANTS:
            return tree.Literal(token.column, CONSTANTS[name])
        if self.token.text == "(":
            return self.function(token)
        if name in self.variables:
            return tree.Variable(token.column, name)
        if name == "event":
            return self.event(token)
        if name in ROOTS:
            return tree.Root(token.column, name)
        if name == "in":
            raise self.error("expected a value, found 'in'", token)
        if name in RESERVED:
            raise self.error(f"'{name}' is a reserved word: for a field write data.{name}", token)
        return tree.Select(token.column, tree.Root(token.column, "data"), name)

    def event(self, token: Token) -> Node:
        self.expect(".", "and a field after 'event'")
        name = self.name("a field of the event")
        if name.text not in EVENT_FIELDS:
            hint = nearest(name.text, EVENT_FIELDS)
            raise self.error(f"unknown field 'event.{name.text}'{hint}", name)
        return tree.Root(token.column, f"event.{name.text}")

    def function(self, token: Token) -> Node:
        name = token.text
        if name not in FUNCTIONS:
            raise self.unknown("function", token, FUNCTIONS, METHODS)
        self.next()
        arguments = self.several(")")
        if len(arguments) != 1:
            raise self.error(f"{name}() takes one argument, not {len(arguments)}", token)
        if name == "size":
            return tree.Call(token.column, "size", arguments)
        return (self.has if name == "has" else self.changed)(token, arguments[0])

    def unknown(
        self, what: str, token: Token, valid: tuple[str, ...], others: tuple[str, ...]
    ) -> ConditionSyntaxError:
        name = token.text
        if name in others:
            form = f"value.{name}(...)" if what == "function" else f"{name}(...)"
            return self.error(f"'{name}' is used as {form}", token)
        return self.error(f"unknown {what} '{name}'{nearest(name, valid)}", token)

    def has(self, token: Token, argument: Node) -> Node:
        match argument:
            case tree.Select(of=of, name=name):
                return tree.Has(token.column, of, name)
            case tree.Index(of=of, key=tree.Literal(value=str() as name)):
                return tree.Has(token.column, of, name)
            case tree.Root(name=name) if name.startswith("event."):
                # An event has all of these fields; those that it does not carry are null.
                return tree.Binary(token.column, "!=", argument, tree.Literal(token.column, None))
        raise self.error(
            'has() takes a field, as in has(customer.tier) or has(data["a-name"])', token
        )

    def changed(self, token: Token, argument: Node) -> Node:
        match argument:
            case tree.Literal(value=str() as path) if all(path.split(".")):
                return tree.Changed(token.column, tuple(path.split(".")))
        raise self.error(
            'changed() takes the name of a field in quotes, as in changed("email")', token
        )

    def method(self, node: Node, name: Token) -> Node:
        if name.text not in METHODS:
            raise self.unknown("method", name, METHODS, FUNCTIONS)
        if name.text in MACROS:
            return self.macro(node, name)
        self.next()
        arguments = self.several(")")
        wanted = 0 if name.text == "size" else 1
        if len(arguments) != wanted:
            takes = "takes one argument" if wanted else "takes no argument as a method"
            raise self.error(f"{name.text}() {takes}, found {len(arguments)}", name)
        if name.text == "matches":
            return self.matches(node, name, arguments[0])
        method = cast("Literal['size', 'startsWith', 'endsWith', 'contains']", name.text)
        return tree.Call(node.column, method, (node, *arguments))

    def matches(self, node: Node, name: Token, pattern: Node) -> Node:
        # Only a literal pattern can be checked before any event arrives.
        if not isinstance(pattern, tree.Literal) or not isinstance(pattern.value, str):
            raise ConditionSyntaxError("matches() takes its pattern as a string", pattern.column)
        try:
            return tree.Matches(node.column, node, Pattern(pattern.value))
        except PatternError as error:
            raise ConditionSyntaxError(f"matches(): {error}", pattern.column) from None

    def macro(self, node: Node, name: Token) -> Node:
        self.next()
        variable = self.name(f"a name for the element, as in {name.text}(x, x > 1)")
        self.check_variable(variable)
        self.expect(",", f"after {name.text}({variable.text}")
        self.variables.append(variable.text)
        if len(self.variables) > MAX_MACROS:
            raise self.error(f"macros are nested more than {MAX_MACROS} deep", name)
        body = self.expression()
        self.variables.pop()
        self.expect(")", f"to close {name.text}()")
        macro = cast("Literal['exists', 'all', 'exists_one', 'filter']", name.text)
        return tree.Macro(node.column, macro, node, variable.text, body)

    def check_variable(self, variable: Token) -> None:
        name = variable.text
        if name in ROOTS or name in RESERVED or name in CONSTANTS or name == "in":
            raise self.error(f"'{name}' is taken: choose another name for the element", variable)
