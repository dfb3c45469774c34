"""What pub/sub keeps for a cache that forgets."""

import math

import pytest

from invalidator.sources.pubsub import recent as window
from invalidator.sources.pubsub.recent import Window


def filled() -> Window[str]:
    """Settled at 10 and 20; the last one is not settled."""
    found: Window[str] = Window(100.0)
    for text, settled in (("ab", 10.0), ("cd", 20.0), ("ef", math.inf)):
        given = found.give(list(text), 2)
        if settled < math.inf:
            found.settle(given, settled)
    return found


@pytest.mark.parametrize(
    ("since", "again"), [(-math.inf, "abcdef"), (10.0, "abcdef"), (15.0, "cdef"), (99.0, "ef")]
)
def test_what_was_settled_since_or_is_not_settled_is_given_again(since: float, again: str) -> None:
    assert filled().back(since) == (list(again), True)


def test_what_is_given_again_leaves_it_and_comes_back_by_being_given() -> None:
    found = filled()
    found.back(15.0)
    assert found.back(15.0) == ([], True)
    found.settle(found.give(["c"], 1), 30.0)
    assert found.back(-math.inf) == (["a", "b", "c"], True)


def test_what_is_older_than_the_span_is_let_go_and_then_missed() -> None:
    found = filled()
    found.settle(found.give(["g"], 1), 115.0)
    assert found.back(10.5) == (["c", "d", "e", "f", "g"], True)
    found = filled()
    found.settle(found.give(["g"], 1), 115.0)
    assert found.back(10.0) == (["c", "d", "e", "f", "g"], False)


@pytest.mark.parametrize(("name", "bound"), [("MOST_MESSAGES", 3), ("MOST_BYTES", 3)])
def test_it_holds_so_much_and_no_more(
    monkeypatch: pytest.MonkeyPatch, name: str, bound: int
) -> None:
    monkeypatch.setattr(window, name, bound)
    found: Window[str] = Window(100.0)
    for second, text in enumerate(("ab", "cd", "ef")):
        found.settle(found.give(list(text), 2), float(second))
    assert found.back(-math.inf) == (["e", "f"], False)


def test_what_is_held_elsewhere_keeps_nothing_here_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "MOST_MESSAGES", 3)
    found: Window[str] = Window(100.0)
    held = found.give("h", 1)
    found.leave(held)
    for second, text in enumerate(("ab", "cd", "ef")):
        found.settle(found.give(list(text), 2), float(second))
    found.come_back(held)
    assert found.back(2.0) == (["e", "f", "h"], True)


def test_what_waits_long_to_be_settled_does_not_keep_all_that_comes_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As batches do behind a second pass. What is let go is missed then."""
    monkeypatch.setattr(window, "MOST_MESSAGES", 1)
    found: Window[str] = Window(100.0)
    waiting = [found.give(text, 1) for text in "abcdefg"]
    assert found.back(-math.inf) == (["d", "e", "f", "g"], False)
    for second, given in enumerate(waiting):
        found.settle(given, float(second))
    assert found.back(-math.inf) == ([], False)
    assert found.back(1.5) == ([], False), "c was settled at 2 and is not here"
    assert found.back(2.5) == ([], True)


def test_what_was_let_go_is_missed_until_it_is_settled_though_it_was_held_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "MOST_MESSAGES", 1)
    found: Window[str] = Window(100.0)
    first, *others = [found.give(text, 1) for text in "abcde"]
    assert first.messages == ()
    found.leave(first)
    found.come_back(first)
    for given in others:
        found.settle(given, 1.0)
    assert found.back(99.0) == ([], False)
    found.settle(first, 2.0)
    assert (found.back(2.0)[1], found.back(3.0)[1]) == (False, True)


def test_without_a_span_nothing_is_kept() -> None:
    found: Window[str] = Window(0.0)
    found.settle(found.give(["a"], 1), 1.0)
    assert found.back(-math.inf) == ([], True)
