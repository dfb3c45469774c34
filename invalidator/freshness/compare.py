"""Compares what is cached with an event or with the truth."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from invalidator.freshness.stored import Stored, Unreadable, at_path
from invalidator.rules.rule import Verify

Ordered = Decimal | datetime


def expected_of(verify: Verify, data: Mapping[str, Any]) -> tuple[Ordered, ...]:
    """Return what an entry must have reached after the event. Raises Unreadable."""
    return tuple(ordered(at_path(data, path)) for path in verify.event)


def older_than_event(verify: Verify, found: Stored, expected: Sequence[Ordered]) -> bool:
    """Return whether an entry is from before the event. Raises Unreadable."""
    pairs = zip(_cached(verify, found), expected, strict=True)
    return any(_is_older(ordered(value), least) for value, least in pairs)


def differs_from_truth(verify: Verify, found: Stored, truth: Mapping[str, Any] | None) -> bool:
    """Return whether an entry is other than the truth; None: what it is about does not exist.

    A version or a time that is ahead of the truth is none: a copy of the database may lag.
    """
    if truth is None or found.says_absent:
        return not (truth is None and found.says_absent)
    actual = [at_path(truth, path) for path in verify.truth]
    pairs = zip(_cached(verify, found), actual, strict=True)
    return any(_is_other(value, true) for value, true in pairs)


def ordered(value: object) -> Ordered:
    """Return a number or a timestamp such that two can be compared. Raises Unreadable."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Decimal(str(value))
    if isinstance(value, str):
        return _from_text(value)
    raise Unreadable


def _from_text(text: str) -> Ordered:
    try:
        number = Decimal(text)
    except InvalidOperation:
        try:
            return ordered(datetime.fromisoformat(text))
        except ValueError as error:
            raise Unreadable from error
    if not number.is_finite():
        raise Unreadable
    return number


def _cached(verify: Verify, found: Stored) -> list[Any]:
    if not verify.cached:
        return [found.version]
    return [found.field(path) for path in verify.cached]


def _is_older(value: Ordered, least: Ordered) -> bool:
    if isinstance(value, datetime) and isinstance(least, datetime):
        return value < least
    if isinstance(value, Decimal) and isinstance(least, Decimal):
        return value < least
    raise Unreadable


def _is_other(value: Any, true: Any) -> bool:
    try:
        return _is_older(ordered(value), ordered(true))
    except Unreadable:
        return bool(value != true and str(value) != str(true))  # a UUID is a text in JSON
