"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.runtime.units import (
    parse_duration,
    parse_size,
    show_duration,
    show_rough_size,
    show_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("300ms", 0.3),
        ("30s", 30.0),
        ("1.5s", 1.5),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("7d", 604800.0),
        ("0", 0.0),
        ("0s", 0.0),
        (" 2 s ", 2.0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", "a duration with a unit, such as 5s or 5ms"),
        ("5 minutes", "a duration in one of the units ms, s, m, h, d"),
        ("-5s", "a duration such as 500ms, 30s, 10m, 1h or 0"),
        ("1h30m", "a duration such as 500ms, 30s, 10m, 1h or 0"),
        ("", "a duration such as 500ms, 30s, 10m, 1h or 0"),
        ("٣s", "a duration such as 500ms, 30s, 10m, 1h or 0"),
    ],
)
def test_a_wrong_duration_says_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{expected}$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512KiB", 524288),
        ("4MiB", 4194304),
        ("1GiB", 1 << 30),
        ("65536", 65536),
        ("0.5KiB", 512),
        ("10B", 10),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4MB", "a size in KiB, MiB or GiB, or a plain number of bytes"),
        ("4 megs", "a size in KiB, MiB or GiB, or a plain number of bytes"),
        ("-1", "a size such as 512KiB, 4MiB, 1GiB, or a number of bytes"),
        ("0.3B", "a size that is a whole number of bytes"),
    ],
)
def test_a_wrong_size_says_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{expected}$"):
        parse_size(text)


@given(st.integers(0, 10**10).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_that_is_shown_reads_back_as_the_same(seconds: float) -> None:
    assert parse_duration(show_duration(seconds)) == seconds


@given(st.integers(0, 1 << 50))
def test_a_size_that_is_shown_reads_back_as_the_same(size: int) -> None:
    assert parse_size(show_size(size)) == size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500ms"), (90.0, "90s"), (600.0, "10m"), (86400.0, "1d"), (0.0, "0"), (1.5, "1500ms")],
)
def test_a_duration_is_shown_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (3 << 20, "3.0 MiB"),
        (1 << 41, "2,048.0 GiB"),
    ],
)
def test_a_rough_size_is_for_people(size: int, said: str) -> None:
    assert show_rough_size(size) == said
