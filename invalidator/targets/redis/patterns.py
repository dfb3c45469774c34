"""Many patterns at once: one regular expression over a whole page of keys.

RE2 takes time in proportion to the text, whatever and however many the patterns are. A call costs
as much as several keys, so the keys of a page are matched as the lines of one text.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property

import re2

from invalidator import layout
from invalidator.errors import ConfigError
from invalidator.runtime.units import by_size
from invalidator.targets.redis.glob import ANY, common_prefix, escape, literal_prefix, parse

FEW = 8  # prefixes that are compared one after the other
MOST = 1 << 16  # bytes of patterns of one expression: to compile it holds up all else for 60 ms
DEEPEST = 8  # stars that patterns share in an expression
MEMORY = 32 << 20  # bytes for an expression; beyond that RE2 becomes slower, not wrong

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")

Parts = tuple[bytes, ...]  # the expressions between the stars of a pattern


class Matcher:
    """Finds the keys that any of its patterns matches."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self.patterns = frozenset(patterns)
        self.prefix = common_prefix(self.patterns)  # of every key that any of them matches
        others = sorted(self.patterns)
        prefixes = {pattern: literal_prefix(pattern) for pattern in others if _is_prefix(pattern)}
        if len(prefixes) > FEW:
            prefixes = {}
        self._prefixes = tuple(prefixes.values())
        self._expressions = [
            Expression(portion)
            for portion in by_size([each for each in others if each not in prefixes], MOST)
        ]

    def matching(self, keys: list[bytes]) -> set[bytes]:
        """Return those that match."""
        found: set[bytes] = set()
        if self._prefixes:
            found.update([key for key in keys if key.startswith(self._prefixes)])
        if self._expressions and len(found) < len(keys):
            lines, others = _lines([key for key in keys if key not in found] if found else keys)
            for expression in self._expressions:
                found |= expression.matching(lines, others)
        return found


class Expression:
    """Some patterns, compiled to one regular expression."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self._text = b"(?m:^(?:" + _any_of({_parts(each) for each in patterns}) + b")$)"
        self._line = _re2(self._text, never_nl=True)

    @cached_property
    def _key(self) -> "re2._Regexp":
        return _re2(self._text, dot_nl=True)

    def matching(self, lines: bytes | None, others: Sequence[bytes]) -> set[bytes]:
        """Return those that match; `others` are keys with a line break in them."""
        found = {key for key in others if self._key.fullmatch(key)}
        if lines is not None:
            found.update([match.group() for match in self._line.finditer(lines)])
        return found


def _lines(keys: Sequence[bytes]) -> tuple[bytes | None, Sequence[bytes]]:
    """Return keys as lines of one text, and those that are no lines."""
    text = b"\n".join(keys)
    if text.count(b"\n") == len(keys) - 1:
        return text, ()
    lines = [key for key in keys if b"\n" not in key]
    return b"\n".join(lines) if lines else None, [key for key in keys if b"\n" in key]


def protected(templates: Iterable[str], patterns: Iterable[str]) -> Matcher:
    """Match what no sweep deletes: our own keys, tags and versions by template, and patterns."""
    own = escape(layout.OWN.encode()) + b"*"
    every = [own, *map(_pattern_of, templates), *(pattern.encode() for pattern in patterns)]
    if not all(pattern.strip(b"*") for pattern in every):
        raise ConfigError("a protected pattern that is only `*` would stop every sweep")
    return Matcher(every)


def _pattern_of(template: str) -> bytes:
    """Return `tag:*` for `tag:{tag}`."""
    return b"*".join(escape(text.encode()) for text in _PLACEHOLDER.split(template))


def _is_prefix(pattern: bytes) -> bool:
    """Return whether it is a literal text followed by `*` alone."""
    tokens = parse(pattern)
    return tokens[-1:] == [None] and len(tokens) - 1 == len(literal_prefix(pattern))


def _re2(text: bytes, **options: bool) -> "re2._Regexp":
    wanted = re2.Options()
    wanted.encoding = re2.Options.Encoding.LATIN1
    wanted.never_capture = True
    wanted.log_errors = False
    wanted.max_mem = MEMORY
    for name, value in options.items():
        setattr(wanted, name, value)
    try:
        return re2.compile(text, wanted)
    finally:
        re2.purge()  # else the library keeps the last 128 expressions, with their memory


def _any_of(patterns: set[Parts], depth: int = DEEPEST) -> bytes:
    """Return an expression in which patterns that begin alike share their beginning."""
    branches: list[bytes] = []
    for first, rests in sorted(_by_first(patterns).items()):
        ended = {rest for rest in rests if not rest}
        more = rests - ended
        branches += [first for _ in ended]
        if len(more) > 1 and depth:
            branches.append(first + b".*(?:" + _any_of(more, depth - 1) + b")")
        else:
            branches += [b".*".join((first, *rest)) for rest in sorted(more)]
    return b"|".join(branches)


def _by_first(patterns: set[Parts]) -> dict[bytes, set[Parts]]:
    groups: dict[bytes, set[Parts]] = defaultdict(set)
    for first, *rest in patterns:
        groups[first].add(tuple(rest))
    return groups


def _parts(pattern: bytes) -> Parts:
    parts = [b""]
    for token in parse(pattern):
        if token is None:
            parts.append(b"")
        else:
            parts[-1] += _character(token)
    return tuple(parts)


def _character(allowed: bytes) -> bytes:
    if len(allowed) == 1:
        escaped: bytes = re2.escape(allowed)
        return escaped
    if len(allowed) == len(ANY):
        return b"."
    if not allowed:
        return rb"[^\x00-\xff]"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in allowed) + b"]"
