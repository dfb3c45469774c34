"""Text for people: the nearest valid name, values cut for messages."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

LONGEST: Final = 64  # characters of a word that are compared: the time grows with their square


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
    """Return a text for a terminal, cut, with escapes for what it would not show."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:limit]) + (
        "…" if len(text) > limit else ""
    )
