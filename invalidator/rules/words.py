"""Words for people: the nearest valid name, values shortly."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, valid: Iterable[str]) -> str:
    """`; did you mean …?` where something is near, else the choice."""
    names = sorted(valid)
    found = get_close_matches(word, names, n=1, cutoff=0.6)
    if found:
        return f"; did you mean {found[0]}?"
    if len(names) <= 12:
        return f"; valid: {', '.join(names)}"
    return ""


def shown(value: object, limit: int = 60) -> str:
    """A value of an event for a message, cut."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
