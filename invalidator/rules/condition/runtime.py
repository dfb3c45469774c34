"""CEL's operators on JSON values: the helpers that compiled conditions call.

Values are those of JSON: str, int, float, bool, None, list, dict. Python and CEL agree on most
of them, but not on bool (an int in Python), on division, and on what may be compared.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from invalidator.errors import ConditionError

Value = Any  # a JSON value of any type

INT64 = 2**63
MAX_STEPS = 100_000  # elements that all loops around one element visit together
MAX_SIZE = 1_000_000  # characters or elements of what + makes
PLACEHOLDER = "__debezium_unavailable_value"  # Debezium: a large column that did not change

HELPERS = {  # by the operator or function of CEL, where these have another name here
    "==": "equal",
    "!=": "unequal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
    "%": "remainder",
    "startsWith": "starts_with",
    "endsWith": "ends_with",
}

_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_ORDERED = frozenset((int, float, str, bool))  # what < compares, with its own kind


def helper(name: str) -> Callable[..., Any]:
    """Return the helper of an operator or function of CEL."""
    found: Callable[..., Any] = globals()[HELPERS.get(name, name)]
    return found


def describe(value: Value) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def boolean(value: Value) -> bool:
    if value is True or value is False:
        return value
    raise ConditionError(f"must be true or false, was {describe(value)}")


def absent(root: str) -> Value:
    raise ConditionError(f"this event has no '{root}'", root)


def field(of: Value, name: str) -> Value:
    if type(of) is not dict:
        raise ConditionError(f"{describe(of)} has no field '{name}'", name)
    if name not in of:
        raise ConditionError(f"no field '{name}'", name)
    return of[name]


def has(of: Value, name: str) -> bool:
    if type(of) is dict:
        return name in of
    raise ConditionError(f"{describe(of)} has no fields")


def index(of: Value, key: Value) -> Value:
    if type(of) is dict:
        if type(key) is str and key in of:
            return of[key]
        raise ConditionError(f"no field '{str(key)[:100]}'")
    if type(of) is not list:
        raise ConditionError(f"{describe(of)} has no elements")
    if type(key) is not int:
        raise ConditionError(f"the index of a list must be an integer, was {describe(key)}")
    if not 0 <= key < len(of):
        raise ConditionError(f"no element {key} in a list of {len(of)}")
    return of[key]


def equal(a: Value, b: Value) -> bool:
    kind = type(a)
    if kind is bool or type(b) is bool:
        return a is b
    if kind is list:
        return type(b) is list and len(a) == len(b) and _all_equal(a, b)
    if kind is dict:
        return type(b) is dict and a.keys() == b.keys() and _all_equal(a.values(), _ordered(b, a))
    return bool(a == b)


def _ordered(values: dict[str, Value], keys: dict[str, Value]) -> list[Value]:
    return [values[key] for key in keys]


def _all_equal(one: Value, other: Value) -> bool:
    for a, b in zip(one, other, strict=True):  # noqa: SIM110 - half as many frames on deep values
        if not equal(a, b):
            return False
    return True


def unequal(a: Value, b: Value) -> bool:
    return not equal(a, b)


def _is_number(value: Value) -> bool:
    return type(value) is int or type(value) is float


def _mixed(a: Value, b: Value) -> bool:
    """Return whether one is an integer and the other a float."""
    return type(a) is not type(b) and _is_number(a) and _is_number(b)


def _unfit(sign: str, a: Value, b: Value) -> ConditionError:
    return ConditionError(f"'{sign}' between {describe(a)} and {describe(b)}")


def number(value: Value) -> Value:
    if type(value) is int or type(value) is float:
        return value
    raise ConditionError(f"compared with a number, was {describe(value)}")


def _ordering(sign: str, compare: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool]:
    def ordered(a: Value, b: Value) -> bool:
        if type(a) is type(b) in _ORDERED or _mixed(a, b):
            return compare(a, b)
        raise _unfit(sign, a, b)

    return ordered


less = _ordering("<", operator.lt)
less_equal = _ordering("<=", operator.le)
greater = _ordering(">", operator.gt)
greater_equal = _ordering(">=", operator.ge)


def within(value: Value, of: Value, around: int = 1) -> bool:
    """Apply CEL's `in`; `around` is the number of elements that the loops around it visit."""
    if type(of) is dict:
        return _names_field(value) and value in of
    if type(of) is not list:
        raise ConditionError(f"'in' needs a list or an object, was {describe(of)}")
    if around > 1:
        _bound(len(of) * around)
    if type(value) is str:
        return value in of
    for one in of:  # noqa: SIM110 - no generator on the hot path
        if equal(value, one):
            return True
    return False


def _names_field(value: Value) -> bool:
    """Return whether a key names a field: only a string does; other types are an error in CEL."""
    if type(value) in (str, int, bool):
        return type(value) is str
    raise ConditionError(f"{describe(value)} cannot be the name of a field")


def within_strings(value: Value, of: frozenset[str]) -> bool:
    return type(value) is str and value in of


def elements(of: Value, around: int = 1) -> list[Value]:
    """Return what a macro visits: the elements of a list, the keys of an object."""
    found: list[Value]
    if type(of) is list:
        found = of
    elif type(of) is dict:
        found = list(of)
    else:
        raise ConditionError(f"needs a list or an object, was {describe(of)}")
    _bound(len(found) * around)
    return found


def _bound(steps: int) -> None:
    if steps > MAX_STEPS:
        raise ConditionError(f"would visit {steps} elements, more than {MAX_STEPS}")


def size(value: Value) -> int:
    if type(value) in (str, list, dict):
        return len(value)
    raise ConditionError(f"size() needs a string, a list or an object, was {describe(value)}")


def _of_strings(name: str, method: Callable[[str, str], bool]) -> Callable[[Value, Value], bool]:
    def applied(value: Value, part: Value) -> bool:
        for one in (value, part):
            if type(one) is not str:
                raise ConditionError(f"{name}() needs strings, was {describe(one)}")
        return method(value, part)

    return applied


starts_with = _of_strings("startsWith", str.startswith)
ends_with = _of_strings("endsWith", str.endswith)
contains = _of_strings("contains", str.__contains__)


def _int64(value: Value) -> Value:
    if type(value) is int and not -INT64 <= value < INT64:
        raise ConditionError("the result does not fit into 64 bits")
    return value


def _numbers(sign: str, a: Value, b: Value) -> None:
    if not (_is_number(a) and _is_number(b)):
        raise _unfit(sign, a, b)


def add(a: Value, b: Value) -> Value:
    if type(a) is type(b) and type(a) in (str, list):
        if len(a) + len(b) > MAX_SIZE:
            raise ConditionError(f"'+' would make something larger than {MAX_SIZE}")
        return a + b
    _numbers("+", a, b)
    return _int64(a + b)


def subtract(a: Value, b: Value) -> Value:
    _numbers("-", a, b)
    return _int64(a - b)


def multiply(a: Value, b: Value) -> Value:
    _numbers("*", a, b)
    return _int64(a * b)


def divide(a: Value, b: Value) -> Value:
    _numbers("/", a, b)
    if type(a) is int and type(b) is int:
        if b == 0:
            raise ConditionError("division by zero")
        quotient = abs(a) // abs(b)  # CEL truncates, Python floors
        return _int64(quotient if (a < 0) is (b < 0) else -quotient)
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def remainder(a: Value, b: Value) -> Value:
    if type(a) is not int or type(b) is not int:
        raise _unfit("%", a, b)
    if b == 0:
        raise ConditionError("division by zero")
    _int64(abs(a) // abs(b) if (a < 0) is (b < 0) else 0)
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def negate(value: Value) -> Value:
    if not _is_number(value):
        raise ConditionError(f"'-' needs a number, was {describe(value)}")
    return _int64(-value)


def changed(before: Value, after: Value, path: tuple[str, ...]) -> bool:
    """Return whether a field differs between the two rows; in doubt it does."""
    if type(before) is not dict and type(after) is not dict:
        raise ConditionError("changed() needs an event with 'before' or 'after'", ".".join(path))
    old, new = _follow(before, path), _follow(after, path)
    if old is _MISSING and new is _MISSING:
        raise ConditionError(f"no field '{'.'.join(path)}' before or after", ".".join(path))
    if type(new) is str and new == PLACEHOLDER:
        return False
    return not equal(old, new)


_MISSING = object()


def _follow(row: Value, path: tuple[str, ...]) -> Value:
    for name in path:
        if type(row) is not dict or name not in row:
            return _MISSING
        row = row[name]
    return row
