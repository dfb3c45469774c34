"""Filters from text to text. `first` and `json`, which take an argument, are written as code."""

import hashlib
from collections.abc import Callable
from typing import Final
from urllib.parse import quote


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def urlencode(text: str) -> str:
    """Encode as urllib's quote(safe='') does, and encodeURIComponent except for !'()*."""
    return quote(text, safe="")


def segment(text: str) -> str:
    """Escape the colon, so that a value is one segment of a name whatever it holds."""
    return text.replace("%", "%25").replace(":", "%3A")


# Their results hold no colon.
ONE_SEGMENT: Final = frozenset({"segment", "urlencode", "md5", "sha1", "sha256"})

TEXT_FILTERS: Final[dict[str, Callable[[str], str]]] = {  # those without an argument
    "lower": str.lower,
    "upper": str.upper,
    "trim": str.strip,
    "urlencode": urlencode,
    "segment": segment,
    "md5": md5,
    "sha1": sha1,
    "sha256": sha256,
}
