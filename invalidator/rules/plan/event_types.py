"""Find the rules that an event's type matches in a tree of segments, never one by one."""

import re
from typing import Final

from msgspec import Struct, field

from invalidator.model import OWN_EVENTS

_TOKENS: Final = re.compile(r"(?:^|[.:])[^.:]*")
_EXPRESSION: Final = re.compile(r"^\^|\$$|[\\()|+?\[\]]")
_CAPTURE: Final = re.compile(r"\{([A-Za-z_]\w*)\}")
MAX_PATTERN: Final = 256
MAX_SEGMENTS: Final = 512  # of an event's type: after a `**` each of them is tried


class Pattern(Struct, frozen=True):
    """One entry of `on:`. `*` is one segment, `**` any number, `{name}` one that is captured."""

    text: str
    tokens: tuple[str, ...]  # segments, each with the separator before it
    captures: tuple[tuple[str, int], ...]  # a name and its segment; negative from the end

    @property
    def literal(self) -> bool:
        return not any(is_wild(token) for token in self.tokens)


class PatternError(ValueError):
    """This entry of `on:` cannot be read; `offset` says where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def tokens(kind: str) -> list[str]:
    """Split `order:item.added` into `order`, `:item`, `.added`."""
    return _TOKENS.findall(kind)


def depth(kind: str) -> int:
    """Return the number of segments of a type."""
    return kind.count(".") + kind.count(":") + 1


def _bare(token: str) -> str:
    return token[1:] if token[:1] in (".", ":") else token


def is_wild(token: str) -> bool:
    bare = _bare(token)
    return bare in ("*", "**") or _CAPTURE.fullmatch(bare) is not None


def parse_pattern(text: str) -> Pattern:
    """Parse an entry of `on:`, or raise a PatternError."""
    if not text or len(text) > MAX_PATTERN:
        raise PatternError(f"a type has 1 to {MAX_PATTERN} characters", 0)
    parts = tokens(text)
    offset = 0
    for token in parts:
        bare = _bare(token)
        at = offset + len(token) - len(bare)
        if not bare:
            raise PatternError(_meant(text) or "an empty segment matches nothing", at)
        if not is_wild(token) and ("*" in bare or "{" in bare or "}" in bare):
            said = "* and {name} stand for a whole segment between . or :"
            raise PatternError(_meant(text) or said, at)
        offset += len(token)
    return Pattern(text, tuple(parts), _captures(parts))


def _meant(text: str) -> str:
    """Return what to write instead of a regular expression; empty if it is none."""
    if not _EXPRESSION.search(text):
        return ""
    said = "types are no regular expressions: * is one segment, ** any number of them"
    glob = text.strip("^$").replace("\\", "").replace("..*", ".**").replace("..+", ".*")
    return said if _EXPRESSION.search(glob) or ".." in glob else f"{said}; write {glob}"


def _captures(parts: list[str]) -> tuple[tuple[str, int], ...]:
    deep = [at for at, token in enumerate(parts) if _bare(token) == "**"]
    found: dict[str, int] = {}
    for at, token in enumerate(parts):
        capture = _CAPTURE.fullmatch(_bare(token))
        if not capture:
            continue
        if len(deep) > 1:
            raise PatternError("{name} with two ** could be more than one segment", 0)
        if capture[1] in found:
            raise PatternError(f"{{{capture[1]}}} occurs twice here", 0)
        found[capture[1]] = at if not deep or at < deep[0] else at - len(parts)
    return tuple(found.items())


Hit = tuple[int, int]  # a rule and which of its patterns matched


class _Branch(Struct):
    literal: dict[str, "_Branch"] = field(default_factory=dict)
    one: dict[str, "_Branch"] = field(default_factory=dict)  # `*`, by the separator before it
    deep: "_Branch | None" = None
    ends: list[Hit] = field(default_factory=list)


class PatternTree:
    """All patterns of a rule set."""

    def __init__(self) -> None:
        self._root = _Branch()
        self.literal: dict[str, dict[int, int]] = {}  # the rules that name a type literally

    def add(self, pattern: Pattern, hit: Hit) -> None:
        if pattern.literal:
            self.literal.setdefault(pattern.text, {}).setdefault(*hit)
        branch = self._root
        for token in pattern.tokens:
            bare = _bare(token)
            if bare == "**":
                branch.deep = branch.deep or _Branch()
                branch = branch.deep
            elif is_wild(token):
                branch = branch.one.setdefault(token[: len(token) - len(bare)], _Branch())
            else:
                branch = branch.literal.setdefault(token, _Branch())
        branch.ends.append(hit)

    def hits(self, kind: str, *, named: bool = False) -> tuple[Hit, ...]:
        """Return the rules for a type, each once, by its first pattern that matches.

        With `named` only patterns that write out the last segment.
        """
        if kind in OWN_EVENTS:  # only rules that name them match
            return tuple(sorted(self.literal.get(kind, {}).items()))
        parts = tokens(kind)
        found: dict[int, int] = {}
        seen: set[tuple[int, int]] = set()
        after: dict[int, int] = {}  # by branch after a `**`: tried from there on already
        todo: list[tuple[_Branch, int, bool]] = [(self._root, 0, False)]
        while todo:
            branch, at, written = todo.pop()
            if (id(branch), at) in seen:
                continue
            seen.add((id(branch), at))
            if deep := branch.deep:
                until = after.get(id(deep), len(parts) + 1)
                todo.extend((deep, later, False) for later in range(at, until))
                after[id(deep)] = min(at, until)
            if at == len(parts):
                if written or not named:
                    for rule, pattern in branch.ends:
                        found[rule] = min(found.get(rule, pattern), pattern)
                continue
            token = parts[at]
            bare = _bare(token)
            if (wild := branch.one.get(token[: len(token) - len(bare)])) and bare:
                todo.append((wild, at + 1, False))
            if exact := branch.literal.get(token):
                todo.append((exact, at + 1, True))
        return tuple(sorted(found.items()))
