"""The messages that pub/sub keeps because they may have to be given again."""

import math

import pytest

from invalidator.sources import recent as module
from invalidator.sources.recent import Given, Message, Recent, Window


def give(recent: Recent[Message], text: str, now: float = 0.0) -> Given:
    """Give a batch of one message a letter; the letter is also its channel."""
    return recent.give([Message(x, x.encode(), 0) for x in text], len(text), now)


def text(messages: list[Message]) -> str:
    return "".join(message.channel for message in messages)


def filled() -> Recent[Message]:
    """Return one with batches that were settled at 10 and 20, and one that is not settled."""
    recent: Recent[Message] = Recent()
    for letters, settled in (("ab", 10.0), ("cd", 20.0)):
        recent.settle(give(recent, letters), settled)
    give(recent, "ef")
    return recent


@pytest.mark.parametrize(
    ("since", "again"), [(-math.inf, "abcdef"), (10.0, "abcdef"), (15.0, "cdef"), (99.0, "ef")]
)
def test_what_was_settled_since_or_is_unsettled_is_given_again(since: float, again: str) -> None:
    recent = filled()
    found, complete = recent.take_since(since)
    assert (text(found), complete) == (again, since > -math.inf)
    assert recent.take_since(-1.0) == ([], True), "it is no longer here"


def test_batches_that_were_settled_before_the_window_are_forgotten() -> None:
    recent = filled()
    recent.forget(10.0)
    assert text(recent.take_since(0.0)[0]) == "cdef"


@pytest.mark.parametrize("name", ["MOST_MESSAGES", "MOST_BYTES"])
def test_the_oldest_batches_are_dropped_beyond_the_bounds(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, name, 3)
    recent: Recent[Message] = Recent()
    for second, letters in enumerate(("ab", "cd", "ef")):
        recent.settle(give(recent, letters, now=9.0), float(second))
    found, complete = recent.take_since(1.0)
    assert (text(found), complete) == ("ef", False), "cd was settled at 1"
    assert recent.take_since(1.5)[1]


def test_a_batch_that_was_dropped_unsettled_is_missed_until_it_was_settled_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_MESSAGES", 1)
    recent: Recent[Message] = Recent()
    first = give(recent, "a", now=1.0)
    recent.settle(give(recent, "b", now=2.0), 2.0)
    assert first.messages == ()
    assert not recent.take_since(2.0)[1]
    recent.settle(first, 5.0)
    assert [recent.take_since(since)[1] for since in (5.0, 6.0)] == [False, True]


def test_unsettled_messages_of_a_channel_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MESSAGES", 6)
    recent = filled()
    assert text(recent.take("e")) == "e"
    assert recent.take("a") == [], "it is settled"
    give(recent, "g")
    assert text(recent.take_since(0.0)[0]) == "abcdfg", "it takes no room"


def test_the_window_of_paused_channels_is_bounded_in_messages_and_bytes() -> None:
    for most_messages, most_bytes in ((3, 100), (100, 3)):
        window = Window(most_messages, most_bytes)
        for channel in "aba":
            assert not window.full
            window.keep(Message(channel, b"1", 0))
        assert (window.full, window.largest, len(window)) == (True, "a", 3)
        assert text(list(window.release("a"))) == "aa"
        assert (window.full, window.largest) == (False, "b")
