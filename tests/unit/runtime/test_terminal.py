"""Colours and progress, on a terminal and in a file."""

import io

import pytest

from invalidator.runtime.terminal import SAY_EVERY, Progress, coloured, paint


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paint("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert paint("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())


def test_a_terminal_shows_a_bar_on_one_line_that_goes_away() -> None:
    stream, clock = Terminal(), Clock()
    with Progress("sweeping", stream, clock=clock) as progress:
        progress.show(0, 1000)
        clock.now += 2
        progress.show(500, 1000, "3 match")
    lines = stream.getvalue().split("\r\x1b[K")
    assert lines[-1] == ""
    assert lines[-2] == f"sweeping [{'#' * 12}{'.' * 12}]  50% 500 of 1,000, 2 s left, 3 match"
    assert "\n" not in stream.getvalue()


def test_a_terminal_is_not_drawn_faster_than_anybody_reads_nor_wider_than_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream, clock = Terminal(), Clock()
    progress = Progress("counting", stream, clock=clock)
    for done in range(50):
        progress.show(done, 0, "x" * 100)
        clock.now += 0.01
    drawn = stream.getvalue().split("\r\x1b[K")[1:]
    assert len(drawn) in (5, 6)
    assert max(map(len, drawn)) == 19


def test_a_file_gets_a_line_once_in_a_while_without_a_bar() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress("sweeping", stream, clock=clock) as progress:
        for second in range(25):
            progress.show(second, 100)
            clock.now += 1
    assert stream.getvalue().splitlines() == [
        "sweeping 10 of 100, 1 min left",
        "sweeping 20 of 100, 1 min left",
    ]
    assert SAY_EVERY == 10


def test_more_than_was_expected_is_all_of_it() -> None:
    stream = Terminal()
    Progress("sweeping", stream, clock=Clock()).show(1200, 1000)
    assert "100% 1,000 of 1,000" in stream.getvalue()
