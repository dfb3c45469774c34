"""Many patterns at once, for the price of a few hash lookups per key.

Keys are looked up by their beginning. A prefix followed by `*` alone needs no more. Others are
looked up by their literal end as well, and only what lies between is left to a regular
expression, on the few keys that fit.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from invalidator.store.glob import Token, common_prefix, expression, split

T = TypeVar("T")
Tails = list[tuple[int, dict[bytes, re.Pattern[bytes]]]]  # literal ends, by their length


class Matcher:
    """Finds the keys that any of its patterns matches."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self.patterns = frozenset(patterns)
        self.prefix = common_prefix(self.patterns)  # of every key that any of them matches
        open_ended: set[bytes] = set()
        between: dict[bytes, dict[bytes, set[bytes]]] = defaultdict(lambda: defaultdict(set))
        for pattern in self.patterns:
            begin, middle, end = _ends(pattern)
            if middle == [None] and not end:
                open_ended.add(begin)
            else:
                between[begin][end].add(expression(middle))
        self._heads = _heads(_outermost(open_ended | between.keys()))
        self._open = _by_length(dict.fromkeys(_outermost(open_ended)))
        self._between = _by_length({begin: _compile(ends) for begin, ends in between.items()})

    def matching(self, keys: list[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        keys = self._heads.search(keys) if self._heads else []
        for length, begins in self._open if keys else ():
            found.update([key for key in keys if key[:length] in begins])
        for length, tails in self._between if keys else ():
            candidates = [key for key in keys if key[:length] in tails]
            found.update([key for key in candidates if _fits(key, length, tails[key[:length]])])
        return found


def _ends(pattern: bytes) -> tuple[bytes, list[Token], bytes]:
    begin, rest = split(pattern)
    end = bytearray()
    while rest and rest[-1] is not None and len(rest[-1]) == 1:
        end += rest.pop() or b""
    return begin, rest, bytes(reversed(end))


def _compile(ends: dict[bytes, set[bytes]]) -> Tails:
    compiled = {end: _compile_any(tuple(sorted(ends[end]))) for end in ends}
    return _by_length(compiled)


@lru_cache(maxsize=1024)  # patterns of one rule differ in their literals, seldom between them
def _compile_any(expressions: tuple[bytes, ...]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(expressions), re.DOTALL)


def _fits(key: bytes, start: int, tails: Tails) -> bool:
    for length, ends in tails:
        stop = len(key) - length
        middle = ends.get(key[stop:]) if stop >= start else None
        if middle and middle.match(key, start, stop):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Heads:
    """Which keys begin with any of many prefixes: a binary search over the prefixes' lengths.

    No prefix begins with another one. So a key that begins like a longer one has no shorter one.
    """

    length: int  # in the middle of all lengths
    exact: frozenset[bytes]  # prefixes of that length
    known: frozenset[bytes]  # these, and the beginnings of longer ones
    shorter: "Heads | None"
    longer: "Heads | None"

    def search(self, keys: list[bytes]) -> list[bytes]:
        length = self.length
        begun = [key for key in keys if key[:length] in self.known]
        found = [key for key in begun if key[:length] in self.exact] if begun else []
        if self.longer and len(found) < len(begun):
            found += self.longer.search([key for key in begun if key[:length] not in self.exact])
        if self.shorter and len(begun) < len(keys):
            if len(begun) * 8 > len(keys):  # else it costs less to look at these once more
                keys = [key for key in keys if key[:length] not in self.known]
            found += self.shorter.search(keys)
        return found


def _heads(prefixes: set[bytes]) -> Heads | None:
    if not prefixes:
        return None
    lengths = sorted({len(prefix) for prefix in prefixes})
    middle = lengths[len(lengths) // 2]
    longer = {prefix for prefix in prefixes if len(prefix) > middle}
    exact = frozenset(prefix for prefix in prefixes if len(prefix) == middle)
    known = exact | {prefix[:middle] for prefix in longer}
    return Heads(middle, exact, known, _heads(prefixes - exact - longer), _heads(longer))


def _by_length(prefixes: Mapping[bytes, T]) -> list[tuple[int, dict[bytes, T]]]:
    lengths: dict[int, dict[bytes, T]] = defaultdict(dict)
    for prefix, rest in prefixes.items():
        lengths[len(prefix)][prefix] = rest
    return sorted(lengths.items())


def _outermost(prefixes: set[bytes]) -> set[bytes]:
    """Without those that begin with another of them."""
    outer: set[bytes] = set()
    lengths: list[int] = []
    for prefix in sorted(prefixes, key=len):
        if not any(prefix[:length] in outer for length in lengths):
            outer.add(prefix)
            if lengths[-1:] != [len(prefix)]:
                lengths.append(len(prefix))
    return outer
