"""Group keys into families: names whose ids are collapsed, `order:single:ord_*`.

What looks like an id (digits, long words, addresses) becomes `*`. Other ids, such as user names,
show by their number: too many different words in one place become `*` as well. So memory is
bounded, however many keys there are.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct, field
from msgspec.structs import fields

MOST = 20_000  # different words, over all places
WIDTH = 64  # different words in one place, at first
DEPTH = 8  # parts of a name; the rest is one part
LONGEST = 120  # bytes of a sample
_PARTS = re.compile(rb"[:/|.]?[^:/|.]*")
_LONG = 40  # bytes of a word; no family has a longer name
_STEM = re.compile(rb"([:/|.]?[A-Za-z]{1,20}[_-])(?=.*\d)")
_WORD = re.compile(rb"[:/|.]?(?:v\d{1,2}|[^\d@]*)")
_HEX = re.compile(rb"[:/|.]?[0-9a-fA-F-]{8,}")


class Tally(Struct):
    """The counts of one family; samples are the first keys."""

    keys: int = 0
    lasting: int = 0  # without TTL
    big: int = 0
    size: int = 0  # bytes
    largest: int = 0  # bytes
    unreached: int = 0  # that no template of a rule names
    tagged: int = 0  # seen in a tag that rules invalidate
    tags: int = 0  # tags that expire before a member
    schemas: Counter[int] = field(default_factory=Counter)  # of entries of the read side
    samples: dict[str, bytes] = field(default_factory=dict)  # by the name of what is counted

    @property
    def outdated(self) -> int:
        """Return how many entries have an older schema than others of the family."""
        return self.schemas.total() - self.schemas[max(self.schemas, default=0)]

    def add(self, other: "Tally") -> None:
        self.schemas += other.schemas
        self.largest = max(self.largest, other.largest)
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.samples = other.samples | self.samples

    def note(self, what: str, key: bytes) -> None:
        """Count a key under `what` and keep the first as a sample."""
        setattr(self, what, getattr(self, what) + 1)
        if what not in self.samples:
            self.samples[what] = key[:LONGEST]

    def note_schema(self, schema: int, key: bytes) -> None:
        """Count an entry of the read side."""
        self.schemas[schema] += 1
        self.samples.setdefault(f"schema {schema}", key[:LONGEST])


_NO_SUMS = ("largest", "schemas", "samples")
_SUMS = [each.name for each in fields(Tally) if each.name not in _NO_SUMS]


class _Node(Struct):
    """A position in names, and the words that follow it."""

    tally: Tally | None = None
    after: "dict[bytes, _Node]" = field(default_factory=dict)
    crowded: set[bytes] = field(default_factory=set)  # stars that stand for every new word


class Families:
    def __init__(self, width: int = WIDTH, most: int = MOST) -> None:
        self._root = _Node()
        self._width = width
        self._most = most
        self._nodes = 0

    def of(self, key: bytes) -> Tally:
        """Return the tally of the key's family."""
        node = self._root
        for part in parts(key):
            child = node.after.get(part)
            if child is None and self._nodes >= self._most:
                node = node.after.setdefault(b"*", _Node())  # the rest of the name is one word
                break
            node = child or self._new(node, part)
        node.tally = node.tally or Tally()
        return node.tally

    def each(self) -> Iterator[tuple[str, Tally]]:
        """Yield the name and tally of every family."""
        yield from _each(self._root, b"")

    def _new(self, node: _Node, part: bytes) -> _Node:
        star = _star(part)
        if star in node.crowded:
            return node.after[star]
        alike = [word for word in node.after if word != star and _star(word) == star]
        if part != star and len(alike) >= self._width:
            return self._collapse(node, star, alike)
        self._nodes += 1
        return node.after.setdefault(part, _Node())

    def _collapse(self, node: _Node, star: bytes, words: list[bytes]) -> _Node:
        node.crowded.add(star)
        self._nodes += star not in node.after
        into = node.after.setdefault(star, _Node())
        for word in words:
            self._nodes -= _join(into, node.after.pop(word))
        return into


def parts(key: bytes) -> list[bytes]:
    """Return a name's words, each with the separator before it; ids become `*`."""
    words = [found for found in _PARTS.findall(key) if found]
    shaped = [_shaped(word) for word in words[:DEPTH]]
    return [*shaped, _star(words[DEPTH])] if len(words) > DEPTH else shaped


@lru_cache(maxsize=8192)
def _shaped(word: bytes) -> bytes:
    if len(word) > _LONG or _HEX.fullmatch(word):
        return _star(word)
    if _WORD.fullmatch(word):
        return word
    stem = _STEM.match(word)
    return stem[1] + b"*" if stem else _star(word)


def _star(word: bytes) -> bytes:
    return word[:1] + b"*" if word[:1] in (b":", b"/", b"|", b".") else b"*"


def _join(into: _Node, other: _Node) -> int:
    """Merge a node into another and return how many nodes are gone."""
    if other.tally:
        into.tally = into.tally or Tally()
        into.tally.add(other.tally)
    into.crowded |= other.crowded
    fewer = 1
    for word, node in other.after.items():
        if word in into.after:
            fewer += _join(into.after[word], node)
        else:
            into.after[word] = node
    return fewer


def _each(node: _Node, name: bytes) -> Iterator[tuple[str, Tally]]:
    if node.tally:
        yield name.decode("utf-8", "backslashreplace"), node.tally
    for part, child in node.after.items():
        yield from _each(child, name + part)
