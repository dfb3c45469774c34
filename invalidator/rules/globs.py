"""Redis globs, as far as checking rules needs: whether two of them could match the same key.

This is an approximation where character classes meet: in doubt they could.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Final

from invalidator.templates import Template

ANY: Final = "*"  # any text
ONE: Final = "?"  # any one character
WORD: Final = "w"  # any text without a colon
_SPECIAL: Final = re.compile(r"\\(.)|\[(\^?)((?:\\.|[^\]\\])*)\]|(\*)|(\?)|(.)", re.S)

Token = tuple[str, str]  # ("*", ""), ("?", ""), ("w", "") or ("=", character)


def tokens(glob: str) -> list[Token]:
    """Return a glob as tokens; a class counts as any one character, unless it holds only one."""
    made: list[Token] = []
    for escaped, negated, inside, star, one, char in _SPECIAL.findall(glob):
        if star:
            if not made or made[-1][0] != ANY:
                made.append((ANY, ""))
        elif one or inside or negated:
            single = len(inside) == 1 and not negated
            made.append(("=", inside) if single else (ONE, ""))
        else:
            made.append(("=", escaped or char))
    return made


def of_template(
    template: Template, prefix: str = "", *, glob: bool, slot: str = ANY
) -> list[Token]:
    """Return a template as tokens: a slot is any text, or `slot`; with `glob` text is a glob."""
    made = [("=", char) for char in prefix]
    for part in template.parts:
        if not isinstance(part, str):
            made.append((slot, ""))
        elif glob:
            made.extend(tokens(part))
        else:
            made.extend(("=", char) for char in part)
    return made


def literal_start(glob: str) -> str:
    """Return the text that every key matched by a glob begins with."""
    return literal_of(tokens(glob))


def literal_of(made: list[Token]) -> str:
    return "".join(char for _, char in itertools.takewhile(lambda token: token[0] == "=", made))


def meet(one: list[Token], other: list[Token]) -> bool:
    """Return whether some key could match both."""
    todo, seen = [(0, 0)], set()
    while todo:
        at = todo.pop()
        if at == (len(one), len(other)):
            return True
        if at not in seen:
            seen.add(at)
            todo.extend(_next(one, other, *at))
    return False


def _next(one: list[Token], other: list[Token], i: int, j: int) -> Iterator[tuple[int, int]]:
    a = one[i] if i < len(one) else None
    b = other[j] if j < len(other) else None
    if a and a[0] in _LONG:
        yield i + 1, j
        if b and _takes(a, b):
            yield i, j + 1
    if b and b[0] in _LONG:
        yield i, j + 1
        if a and _takes(b, a):
            yield i + 1, j
    if a and b and not _LONG & {a[0], b[0]} and (ONE in (a[0], b[0]) or a == b):
        yield i + 1, j + 1


_LONG: Final = frozenset({ANY, WORD})


def _takes(long: Token, other: Token) -> bool:
    return long[0] == ANY or other != ("=", ":")
