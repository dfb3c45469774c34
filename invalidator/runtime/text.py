"""Text for people: the nearest valid name, values cut for messages."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from invalidator.runtime.terminal import printable

LONGEST: Final = 64  # characters of a word that are compared: the effort grows with their square


def closest(word: str, valid: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the valid name that was probably meant; empty if none is near."""
    lowered = {name.lower(): name for name in sorted(valid)}
    found = get_close_matches(word.lower()[:LONGEST], lowered, n=1, cutoff=cutoff)
    return lowered[found[0]] if found else ""


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return `; did you mean …?` if a name is near, else the choice."""
    names = sorted(valid)
    if found := closest(word, names):
        return f"; did you mean {found}?"
    if len(names) <= 12:
        return f"; valid: {', '.join(names)}"
    return ""


def shown(value: object, limit: int = 60) -> str:
    """Return a value of an event for a message, cut."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def visible(text: str, limit: int = 200) -> str:
    """Return the text as one line that is safe for a terminal, cut at the limit."""
    return printable(text[:limit]).replace("\n", "\\n") + ("…" if len(text) > limit else "")
