"""Entries that are loaded before anybody asks for them."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from msgspec import Struct

CHUNK: Final = 100  # entries of one read and one load

A = TypeVar("A")


class Progress(Struct):
    total: int
    seen: int = 0
    loaded: int = 0


def chunks(wanted: Mapping[str, A], size: int) -> Iterator[dict[str, A]]:
    """Split a mapping into smaller ones."""
    items = list(wanted.items())
    for start in range(0, len(items), size):
        yield dict(items[start : start + size])
