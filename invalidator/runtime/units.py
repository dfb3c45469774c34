"""Parse and show durations and sizes: `500ms`, `10m`, `4MiB`. Inside they are seconds and bytes."""

import re
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")

T = TypeVar("T", bound=Sized)


def parse_duration(text: str) -> float:
    """Return seconds. A bare number is rejected: its unit would be ambiguous."""
    number, unit = _quantity(text, "a duration such as 500ms, 30s, 10m, 1h or 0")
    if unit in _SECONDS:
        # Divide, since 0.001 is not an exact float and 300 * 0.001 is not 0.3.
        return float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit]
    if unit:
        raise ValueError(f"a duration in one of the units {', '.join(_SECONDS)}")
    if float(number) == 0:
        return 0.0
    raise ValueError(f"a duration with a unit, such as {number}s or {number}ms")


def show_duration(seconds: float) -> str:
    """Return the shortest whole number with a unit that `parse_duration` reads as the same."""
    if seconds == 0:
        return "0"
    for unit in ("d", "h", "m", "s"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.10g}ms"


def parse_size(text: str) -> int:
    """Return bytes. Only powers of 1024 are units, so that MB and MiB cannot be confused."""
    number, unit = _quantity(text, "a size such as 512KiB, 4MiB, 1GiB, or a number of bytes")
    if unit not in _BYTES:
        raise ValueError("a size in KiB, MiB or GiB, or a plain number of bytes")
    size = float(number) * _BYTES[unit] if "." in number else int(number) * _BYTES[unit]
    if size != int(size):
        raise ValueError("a size that is a whole number of bytes")
    return int(size)


def show_size(size: int) -> str:
    """Return the size with the largest unit that fits exactly."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def show_rough_size(size: float) -> str:
    """Return an approximate size for a person."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _BYTES[unit]:
            return f"{size / _BYTES[unit]:,.1f} {unit}"
    return f"{size:g} bytes"


def _quantity(text: str, expected: str) -> tuple[str, str]:
    found = _QUANTITY.fullmatch(text.strip())
    if not found:
        raise ValueError(expected)
    return found[1], found[2]


def by_size(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """Divide items into portions of so many bytes or characters; a larger item is one alone."""
    portion: list[T] = []
    size = 0
    for item in items:
        size += len(item)
        if portion and size > most:
            yield portion
            portion, size = [], len(item)
        portion.append(item)
    if portion:
        yield portion
