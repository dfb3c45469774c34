"""Many expressions for the middle of a key, of which few can fit: their literal texts say which.

One expression of them all would be tried from its first to its last with every key.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Protocol

from invalidator.targets.redis.glob import Token, expression, shared

FEW = 8  # expressions that are one
Middle = tuple[Token, ...]


class Fitting(Protocol):
    """What lies between two places of a key."""

    def match(self, key: bytes, start: int, stop: int, /) -> object: ...


def any_of(middles: Iterable[Middle]) -> Fitting:
    """Fits what any of these fits."""
    every = set(middles)
    return Inside(every) if len(every) > FEW else _compiled(_expressions(every))


class Inside:
    """Looks for the texts first, each as long as its expression allows."""

    def __init__(self, middles: Iterable[Middle]) -> None:
        texts = {middle: _texts(middle) for middle in middles}
        common = Counter(text for each in texts.values() for text in each)
        asking: dict[bytes, list[Middle]] = defaultdict(list)
        for middle, found in texts.items():
            # What many ask for tells little.
            rarest = min(found, key=lambda text: (common[text], -len(text)), default=b"")
            asking[rarest].append(middle)
        self._always = _compiled(_expressions(asking.pop(b""))) if b"" in asking else None
        self._asking = {text: _expressions(some) for text, some in asking.items()}
        self._same = shared(min(asking, default=b""), max(asking, default=b""))
        self._lengths = sorted({len(text) for text in asking})

    def match(self, key: bytes, start: int, stop: int, /) -> bool:
        if self._always and self._always.match(key, start, stop):
            return True
        found = self._found(key, start, stop)
        return any(_compiled(self._asking[text]).match(key, start, stop) for text in found)

    def _found(self, key: bytes, start: int, stop: int) -> Iterator[bytes]:
        at = key.find(self._same, start, stop)
        while at >= 0:
            for length in self._lengths:
                if (text := key[at : at + length]) in self._asking:
                    yield text
            at = key.find(self._same, at + 1, stop)


def _texts(middle: Middle) -> set[bytes]:
    """All that a key must have there."""
    runs = groupby(middle, key=lambda token: token is not None and len(token) == 1)
    return {b"".join(filter(None, run)) for literal, run in runs if literal}


def _expressions(middles: Iterable[Middle]) -> Sequence[bytes]:
    return tuple(sorted(expression(list(middle)) for middle in middles))


@lru_cache(maxsize=1024)  # patterns of one rule differ in their literals, seldom between them
def _compiled(expressions: Sequence[bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(expressions), re.DOTALL)
