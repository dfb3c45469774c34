"""Which topics are ours."""

import pytest

from invalidator.sources.kafka.offsets import Wanted

ALL = ["orders", "orders.eu", "orders.us", "users", "__consumer_offsets", "__orders.eu"]


@pytest.mark.parametrize(
    ("entries", "chosen"),
    [
        (["users"], ["users"]),
        ([r"^orders\..*"], ["orders.eu", "orders.us"]),
        ([r"^orders\..*", "users", "gone"], ["orders.eu", "orders.us", "users"]),
        (["^orders$"], ["orders"]),
        (["^orders"], ["orders", "orders.eu", "orders.us"]),
        (["^"], ["orders", "orders.eu", "orders.us", "users"]),
        (["^__", "^_"], []),
        (["__orders.eu"], ["__orders.eu"]),
    ],
)
def test_names_are_themselves_and_patterns_match_all_but_internal_ones(
    entries: list[str], chosen: list[str]
) -> None:
    assert Wanted(entries).choose(ALL) == chosen


THERE = "here are orders, orders.eu, orders.us, users"


@pytest.mark.parametrize(
    ("entries", "missing"),
    [
        (["users", "^orders"], ""),
        (["users", "gone", "lost"], f"there is no topic named 'gone', 'lost'; t{THERE}"),
        (["user"], f"there is no topic named 'user'; did you mean users? T{THERE}"),
        (["users", "^nothing"], ""),
        (["^nothing", "gone"], f"there is no topic named 'gone', '^nothing'; t{THERE}"),
    ],
)
def test_what_is_missing_is_named(entries: list[str], missing: str) -> None:
    assert Wanted(entries).missing(ALL) == missing


def test_only_patterns_may_grow() -> None:
    assert Wanted(["^a", "b"]).may_grow
    assert not Wanted(["a", "b"]).may_grow
