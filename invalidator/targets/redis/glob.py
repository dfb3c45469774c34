"""Redis's own glob (`stringmatchlen`), on bytes.

A pattern is parsed into one set of allowed bytes per character, with None for `*`.

Two differences, both on the side of matching more. Redis gives up on a pattern of more than 1,000
stars; here it matches. And `**` alone matches the empty key here, as `*` does in SCAN.
"""

import re
from collections.abc import Iterable

Token = bytes | None  # the bytes that one character may be, sorted; None is `*`

ANY = bytes(range(256))
_MAGIC = re.compile(rb"[\\*?\[\]]")


def escape(text: bytes) -> bytes:
    """Return the pattern that matches exactly this text."""
    return _MAGIC.sub(lambda found: b"\\" + found[0], text)


def parse(pattern: bytes) -> list[Token]:
    """Return one token per character of a matching key; a run of stars is one token."""
    tokens: list[Token] = []
    at = 0
    while at < len(pattern):
        token, at = _token(pattern, at)
        if token is not None or not tokens or tokens[-1] is not None:
            tokens.append(token)
    return tokens


def _token(pattern: bytes, at: int) -> tuple[Token, int]:
    match pattern[at : at + 1]:
        case b"*":
            return None, at + 1
        case b"?":
            return ANY, at + 1
        case b"[":
            return _class(pattern, at + 1)
        case b"\\" if at + 1 < len(pattern):
            return pattern[at + 1 : at + 2], at + 2
        case literal:
            return literal, at + 1


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes a class allows and where it ends; the pattern's end closes it, too."""
    inverted = pattern[at : at + 1] == b"^"
    at += inverted
    allowed: set[int] = set()
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            allowed.add(pattern[at + 1])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            allowed.update(_range(pattern[at], pattern[at + 2]))
            at += 3
        else:
            allowed.add(pattern[at])
            at += 1
    return bytes(b for b in ANY if (b in allowed) is not inverted), at + 1


def _range(one: int, other: int) -> Iterable[int]:
    """Return a range in either direction, of C's signed chars on x86: \\xff is -1, below `a`."""
    low, high = sorted(byte - 256 if byte > 127 else byte for byte in (one, other))
    return (char % 256 for char in range(low, high + 1))


def literal_prefix(pattern: bytes) -> bytes:
    """Return the text that every key the pattern matches begins with."""
    literal = bytearray()
    for token in parse(pattern):
        if token is None or len(token) != 1:
            break
        literal += token
    return bytes(literal)


def common_prefix(patterns: Iterable[bytes]) -> bytes:
    """Return the text that every key that any of the patterns matches begins with."""
    prefixes = {literal_prefix(pattern) for pattern in patterns}
    first, last = min(prefixes, default=b""), max(prefixes, default=b"")
    differs = (at for at, byte in enumerate(first) if last[at : at + 1] != bytes([byte]))
    return first[: next(differs, len(first))]
