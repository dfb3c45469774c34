"""Redis's own glob (`stringmatchlen`), on bytes.

A pattern is parsed into one set of allowed bytes per character, with None for `*`. It becomes a
regular expression of atomic groups: between two stars the leftmost match is always good enough,
so nothing is ever tried twice and no pattern can take exponential time.

Two differences, both on the side of matching more. Redis gives up on a pattern of more than 1,000
stars, here it matches. And `**` alone matches the empty key here, as `*` does in SCAN.
"""

import re
from collections.abc import Iterable

Token = bytes | None  # the bytes that one character may be, sorted; None is `*`

_ANY = bytes(range(256))
_MAGIC = re.compile(rb"[\\*?\[\]]")


def escape(text: bytes) -> bytes:
    """The pattern that matches exactly this text."""
    return _MAGIC.sub(lambda found: b"\\" + found[0], text)


def parse(pattern: bytes) -> list[Token]:
    """One entry per character the pattern asks for; runs of stars count as one."""
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
            return _ANY, at + 1
        case b"[":
            return _class(pattern, at + 1)
        case b"\\" if at + 1 < len(pattern):
            return pattern[at + 1 : at + 2], at + 2
        case literal:
            return literal, at + 1


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The bytes inside brackets, and where the pattern goes on. The end may close them too."""
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
    return bytes(b for b in _ANY if (b in allowed) is not inverted), at + 1


def _range(one: int, other: int) -> Iterable[int]:
    """Either way round, and of signed chars as C has them on x86: \\xff is -1, below `a`."""
    low, high = sorted(byte - 256 if byte > 127 else byte for byte in (one, other))
    return (char % 256 for char in range(low, high + 1))


def split(pattern: bytes) -> tuple[bytes, list[Token]]:
    """The literal text that a pattern begins with, and the rest of it."""
    tokens = parse(pattern)
    literal = bytearray()
    for token in tokens:
        if token is None or len(token) != 1:
            break
        literal += token
    return bytes(literal), tokens[len(literal) :]


def literal_prefix(pattern: bytes) -> bytes:
    """What every key that the pattern matches begins with."""
    return split(pattern)[0]


def common_prefix(patterns: Iterable[bytes]) -> bytes:
    """What every key that any of the patterns matches begins with."""
    prefixes = {literal_prefix(pattern) for pattern in patterns}
    return shared(min(prefixes, default=b""), max(prefixes, default=b""))


def shared(first: bytes, last: bytes) -> bytes:
    """What two texts begin with, and all that stand between them in their order."""
    differs = (at for at, byte in enumerate(first) if last[at : at + 1] != bytes([byte]))
    return first[: next(differs, len(first))]


def compile_glob(pattern: bytes) -> re.Pattern[bytes]:
    """Matches a whole key exactly where Redis does."""
    return re.compile(expression(parse(pattern)), re.DOTALL)


def expression(tokens: list[Token]) -> bytes:
    first, *others = _between_stars(tokens)
    if not others:
        return _characters(first) + rb"\Z"
    *middle, last = others
    found_in_turn = b"".join(b"(?>.*?" + _characters(part) + b")" for part in middle)
    # The last part lies at the very end, but not inside what was found before.
    at_end = b"(?=.{%d}).*+(?<=%s)" % (len(last), _characters(last)) if last else b".*+"
    return _characters(first) + found_in_turn + at_end + rb"\Z"


def _between_stars(tokens: list[Token]) -> list[list[bytes]]:
    parts: list[list[bytes]] = [[]]
    for token in tokens:
        if token is None:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _characters(tokens: list[bytes]) -> bytes:
    return b"".join(map(_character, tokens))


def _character(allowed: bytes) -> bytes:
    if len(allowed) == 1:
        return re.escape(allowed)
    if len(allowed) == len(_ANY):
        return b"."
    if not allowed:
        return rb"[^\x00-\xff]"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in allowed) + b"]"
