"""Logging: one form for all, and libraries that neither chatter nor tell secrets."""

import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import structlog
from prometheus_client import REGISTRY

from invalidator.runtime.logs import QUIET_SECONDS, Repeats, configure


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Captured(io.StringIO):
    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.getvalue().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logged(clock: Clock) -> Iterator[Callable[..., Captured]]:
    """`logged(level="debug")`: configure, and give what is written."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)

    def start(**log: Any) -> Captured:
        root.handlers.clear()  # those of pytest, which format what they get in their own way
        out = Captured()
        configure(log.get("format", "json"), log.get("level", "info"), stream=out, clock=clock)
        return out

    yield start
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.captureWarnings(False)


Logged = Callable[..., Captured]


def fail(logger: str, message: str, error: Exception) -> None:
    try:
        raise error
    except type(error):
        logging.getLogger(logger).exception(message)


# --- our own lines ---


def test_a_line_is_an_object_that_begins_with_time_level_and_event(logged: Logged) -> None:
    out = logged()
    structlog.get_logger().info("batch applied", events=3, keys=2)
    (line,) = out.lines()
    assert list(line) == ["timestamp", "level", "event", "events", "keys"]
    assert (line["level"], line["event"], line["events"]) == ("info", "batch applied", 3)
    assert line["timestamp"].endswith("Z")


def test_lines_below_the_level_are_not_written(logged: Logged) -> None:
    out = logged(level="warning")
    log = structlog.get_logger()
    log.debug("a")
    log.info("b")
    log.warning("c")
    assert out.events() == ["c"]


def test_a_logger_made_before_configuring_follows_it(logged: Logged) -> None:
    log = structlog.get_logger(source="kafka")
    out = logged(level="debug")
    log.debug("here")
    assert out.lines()[0]["source"] == "kafka"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"\xc3\xa9\xff", "é\\xff"),
        ({"a"}, ["a"]),
        (1 << 70, 1 << 70),
        ({1: "one"}, {"1": "one"}),
        (ValueError("odd"), "odd"),
        ("\ud800", "\ud800"),
    ],
)
def test_no_value_makes_a_line_fail(logged: Logged, value: object, written: object) -> None:
    import json

    out = logged()
    structlog.get_logger().info("odd", value=value)
    assert json.loads(out.getvalue())["value"] == written


def test_an_exception_of_ours_keeps_its_traceback(logged: Logged) -> None:
    out = logged()
    try:
        raise KeyError("x")
    except KeyError:
        structlog.get_logger().exception("broken")
    assert "Traceback" in out.lines()[0]["exception"]


def test_a_log_that_cannot_be_written_stops_nothing(logged: Logged) -> None:
    out = logged()
    out.close()
    structlog.get_logger().info("unheard")
    logging.getLogger("aiokafka").error("unheard")


def test_the_console_is_readable_and_has_no_colours_where_there_is_no_terminal(
    logged: Logged,
) -> None:
    out = logged(format="console")
    structlog.get_logger().info("batch applied", keys=2, events=3)
    assert "batch applied" in out.getvalue()
    assert out.getvalue().rstrip().endswith("keys=2 events=3")
    assert "\x1b" not in out.getvalue()


def test_a_line_that_is_too_long_for_the_terminal_continues_on_the_next(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Captured, "isatty", lambda _: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    out = logged(format="console")
    structlog.get_logger().warning("server-unavailable", part="redis", why="no answer", keys=[1, 2])
    time, *lines = out.getvalue().split(" ", 1)[0], *out.getvalue().splitlines()
    assert lines == [
        f"{time} warning server-unavailable",
        '         part=redis why="no answer"',
        "         keys=1,2",
    ]


@pytest.mark.parametrize(("terminal", "json"), [(True, False), (False, True)])
def test_the_format_follows_the_stream(
    logged: Logged, monkeypatch: pytest.MonkeyPatch, terminal: bool, json: bool
) -> None:
    monkeypatch.setattr(Captured, "isatty", lambda _: terminal)
    out = logged(format="auto")
    structlog.get_logger().info("started")
    assert out.getvalue().startswith("{") is json


def test_the_console_escapes_what_could_control_the_terminal(logged: Logged) -> None:
    out = logged(format="console")
    structlog.get_logger().info("lost\x1b[2J", channel="a\x9b31m")
    logging.getLogger("asyncio").error("no topic %s", "b\x1b[31m")
    assert out.getvalue().count("\\x1b") == 2
    assert all(line.isprintable() for line in out.getvalue().splitlines())


def test_the_console_has_colours_on_a_terminal(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Captured, "isatty", lambda _: True)
    out = logged(format="console")
    structlog.get_logger().info("batch applied")
    assert "\x1b" in out.getvalue()


# --- libraries ---


def test_what_libraries_log_comes_out_in_the_same_form(logged: Logged) -> None:
    out = logged()
    logging.getLogger("asyncio.slow").warning("slow: %s", "GET")
    (line,) = out.lines()
    assert (line["level"], line["event"], line["logger"]) == (
        "warning",
        "slow: GET",
        "asyncio.slow",
    )


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["info", "warning", "error"]),
        ("info", ["warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
@pytest.mark.parametrize("name", ["shtab", "asyncio"])
def test_libraries_are_heard_from_warning_up_and_with_debug_from_info_up(
    logged: Logged, name: str, level: str, heard: list[str]
) -> None:
    out = logged(level=level)
    library = logging.getLogger(name)
    for word in ("debug", "info", "warning", "error"):
        getattr(library, word)(word)
    assert out.events() == heard


@pytest.mark.parametrize("name", ["aiokafka.conn", "redis.client"])
def test_clients_are_heard_at_debug_only_since_our_own_lines_say_it_better(
    logged: Logged, name: str
) -> None:
    for level, heard in (("info", []), ("debug", ["refused"])):
        out = logged(level=level)
        logging.getLogger(name).error("refused")
        assert out.events() == heard


def test_aiokafka_never_prints_a_password_even_where_its_logger_is_set_to_debug(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = logged(level="debug")
    library = logging.getLogger("aiokafka.conn")
    monkeypatch.setattr(library, "level", logging.DEBUG)
    library._cache.clear()  # type: ignore[attr-defined]
    assert library.isEnabledFor(logging.DEBUG)
    library.debug("SaslAuthenticate(%s)", "hunter2")
    assert out.getvalue() == ""


def test_the_same_message_of_a_library_is_held_back_and_counted(
    logged: Logged, clock: Clock
) -> None:
    out = logged()
    library = logging.getLogger("library")
    for node in range(5):
        library.error("Unable to connect to node %s", node)
    library.error("Something else")
    library.warning("Unable to connect to node %s", 5)
    clock.now += QUIET_SECONDS
    library.error("Unable to connect to node %s", 6)
    assert [(line["event"], line.get("suppressed")) for line in out.lines()] == [
        ("Unable to connect to node 0", None),
        ("Something else", None),
        ("Unable to connect to node 5", None),
        ("Unable to connect to node 6", 4),
    ]


def test_our_own_lines_are_never_held_back(logged: Logged) -> None:
    out = logged()
    for _ in range(3):
        structlog.get_logger().info("batch applied")
    assert len(out.lines()) == 3


def test_a_template_without_words_is_told_by_its_message(logged: Logged) -> None:
    out = logged()
    for text in ("one", "two", "two"):
        logging.getLogger("library").warning("%s", text)
    assert out.events() == ["one", "two"]


def test_messages_that_never_repeat_take_no_endless_memory() -> None:
    repeats = Repeats(Clock())
    for number in range(5000):
        assert repeats.admit(number) == 0
    assert len(repeats._seen) <= 1000


@pytest.mark.parametrize(
    ("logger", "error"),
    [
        ("library", OSError("no leader")),
        ("asyncio", ConnectionResetError("reset")),
    ],
)
def test_a_server_that_is_away_leaves_a_reason_and_no_traceback(
    logged: Logged, logger: str, error: Exception
) -> None:
    out = logged()
    fail(logger, "failed", error)
    (line,) = out.lines()
    assert line["error"] == f"{type(error).__name__}: {error}"
    assert "exception" not in line


def test_with_debug_tracebacks_of_libraries_are_shown(logged: Logged) -> None:
    out = logged(level="debug")
    fail("aiokafka", "failed", OSError("away"))
    assert "Traceback" in out.lines()[0]["exception"]


def test_a_mistake_of_ours_that_asyncio_reports_keeps_its_traceback(logged: Logged) -> None:
    out = logged()
    fail("asyncio", "Task exception was never retrieved", KeyError("x"))
    assert "Traceback" in out.lines()[0]["exception"]


def test_a_librarys_broken_template_is_written_as_it_is(logged: Logged) -> None:
    out = logged()
    logging.getLogger("library").warning("%s and %s", "one")
    assert out.events() == ["%s and %s"]


def test_python_warnings_are_lines_too(logged: Logged) -> None:
    out = logged()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = out.lines()
    assert "DeprecationWarning: old" in line["event"]


def test_configuring_again_replaces_the_first(logged: Logged) -> None:
    first, second = logged(), logged()
    structlog.get_logger().info("ours")
    logging.getLogger("library").warning("theirs")
    assert (first.getvalue(), second.events()) == ("", ["ours", "theirs"])


def test_a_pipe_that_nobody_reads_never_makes_a_log_line_wait(logged: Logged, clock: Clock) -> None:
    logged()
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as out:
        configure("json", "info", stream=out, clock=clock)
        log, before = structlog.get_logger(), _dropped()
        began = time.monotonic()
        for number in range(3000):
            log.info("line", number=number, text="x" * (9000 if number % 50 == 0 else 100))
        assert time.monotonic() - began < 30
        assert _dropped() - before > 1000
        os.set_blocking(reader, False)
        first = os.read(reader, 1 << 20)
        log.info("read again")
        lines = (first + os.read(reader, 1 << 20)).splitlines()
    os.close(reader)
    assert orjson.loads(lines[-1])["event"] == "read again"
    whole = [orjson.loads(line)["number"] for line in lines[:-1] if line.endswith(b"}")]
    assert whole[:100] == list(range(100))
    assert len(lines) - 1 - len(whole) <= 1


def _dropped() -> float:
    return REGISTRY.get_sample_value("invalidator_log_lines_dropped_total") or 0.0
