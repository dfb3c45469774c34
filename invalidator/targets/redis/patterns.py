"""Many patterns at once, for little more per key than one.

One expression for the literal beginnings of all patterns picks the few keys that may fit; these are
looked up by their beginning. A prefix followed by `*` alone needs no more. Others are looked up by
their literal end as well, and only what lies between is left to an expression of its own; of many
such expressions those are tried whose literal text the key has.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from invalidator.targets.redis.glob import Token, common_prefix, shared, split
from invalidator.targets.redis.inside import Fitting, Middle, any_of

T = TypeVar("T")
Pick = Callable[[list[bytes]], list[bytes]]
Tails = list[tuple[int, dict[bytes, Fitting]]]  # literal ends, by their length

FEW = 8  # prefixes that are tried one after the other
MOST = 1_000  # prefixes that an expression is made of: that takes its time
DEEPEST = 32  # bytes of these, behind what all share: so deep may an expression nest


class Matcher:
    """Finds the keys that any of its patterns matches."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self.patterns = frozenset(patterns)
        self.prefix = common_prefix(self.patterns)  # of every key that any of them matches
        open_ended: set[bytes] = set()
        between: dict[bytes, dict[bytes, set[Middle]]] = defaultdict(lambda: defaultdict(set))
        for pattern in self.patterns:
            begin, middle, end = _ends(pattern)
            if middle == [None] and not end:
                open_ended.add(begin)
            else:
                between[begin][end].add(tuple(middle))
        self._begun = _beginning({*open_ended, *between}, len(self.prefix))
        self._open = _by_length(dict.fromkeys(_outermost(open_ended)))
        self._between = _by_length({begin: _compile(ends) for begin, ends in between.items()})

    def matching(self, keys: list[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        keys = self._begun(keys)
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


def _compile(ends: dict[bytes, set[Middle]]) -> Tails:
    return _by_length({end: any_of(middles) for end, middles in ends.items()})


def _fits(key: bytes, start: int, tails: Tails) -> bool:
    for length, ends in tails:
        stop = len(key) - length
        middle = ends.get(key[stop:]) if stop >= start else None
        if middle and middle.match(key, start, stop):
            return True
    return False


def _beginning(prefixes: set[bytes], same: int) -> Pick:
    """Picks the keys that begin with any of these, or may: long and many ones are cut.

    All of them begin with the `same` bytes, so many.
    """
    words = {prefix[: same + DEEPEST] for prefix in prefixes}
    longest = max(map(len, words), default=0)
    while len(words) > MOST:
        longest = same + (longest - same) * 3 // 4
        words = {word[:longest] for word in words}
    if len(words) <= FEW:
        few = tuple(words)
        return lambda keys: [key for key in keys if key.startswith(few)]
    begins = re.compile(_tree(sorted(words)), re.DOTALL).match
    return lambda keys: list(filter(begins, keys))


def _tree(words: Sequence[bytes]) -> bytes:
    """An expression for any of these: what they share is looked at once."""
    same = shared(words[0], words[-1])  # they are in order
    if same == words[0]:
        return re.escape(same)  # the others only go on
    at = len(same)
    branches = groupby(words, key=lambda word: word[at])
    rest = b"|".join(_tree([word[at:] for word in branch]) for _, branch in branches)
    return re.escape(same) + b"(?:" + rest + b")"


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
