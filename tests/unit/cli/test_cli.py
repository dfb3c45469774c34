"""The command line as a whole: help, exit codes, what a failure says."""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import invalidator
from invalidator.cli import main
from invalidator.errors import Problem, RulesError, Unavailable

HEAVY = (
    *("pydantic", "redis", "aiokafka", "structlog", "h11"),
    *("asyncio", "yaml", "orjson"),
)
ROOT = Path(invalidator.__file__).parent.parent


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60
    )


# --- help ---


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["publish", "--help"], []])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    done = python(
        "-c",
        "import sys; from invalidator.cli import main; main(sys.argv[1:])\n"
        f"print([name for name in {HEAVY} if name in sys.modules])",
        *words,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "invalidator run --embedded" in shown
    codes = re.findall(r"^  (\d+) ", shown.split("exit codes:")[1], re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "4", "130"]


@pytest.mark.parametrize(
    "verb", ["run", "publish", "tail", "purge", "audit", "settings", "completion"]
)
def test_the_help_of_every_verb_shows_examples_of_a_hundred_columns(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"invalidator {verb}" in shown.split("examples:")[1]
    assert max(map(len, shown.splitlines())) <= 100


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"invalidator {invalidator.__version__}\n"


def test_without_a_verb_help_is_shown_and_nothing_was_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


def test_an_unknown_verb_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pubish"]) == 2
    said = "invalidator: unknown verb: pubish; did you mean publish?\n"
    assert capsys.readouterr().err.startswith(said)


def test_the_package_can_be_run_as_a_module() -> None:
    assert python("-m", "invalidator", "--version").stdout.startswith("invalidator ")


# --- failures ---


def failing(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            RulesError([Problem("rules.yaml", 3, 5, "unknown key `onn`; did you mean `on`?")]),
            2,
            "invalidator: the rules cannot be used:\n"
            "  rules.yaml:3:5: unknown key `onn`; did you mean `on`?\n",
        ),
        (
            Unavailable("redis://cache:6379", "refused the connection"),
            1,
            "invalidator: redis://cache:6379: refused the connection\n",
        ),
        (
            KeyError("x"),
            1,
            "invalidator: unexpected KeyError: 'x'\nrun with --debug for the traceback\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_failure_is_told_to_a_person(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("invalidator.cli.settings.run", failing(error))
    assert main(["settings"]) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("words", [["--debug", "settings"], ["settings", "--debug"]])
def test_with_debug_the_traceback_is_shown(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("invalidator.cli.settings.run", failing(KeyError("x")))
    assert main(words) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "run with --debug" not in shown


def test_settings_that_cannot_be_used_are_exit_code_2_with_every_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_ULR", "redis://cache")
    monkeypatch.setenv("INVALIDATOR_ADMIN__PORT", "http")
    assert main(["settings"]) == 2
    assert capsys.readouterr().err == (
        "invalidator: the settings cannot be used:\n"
        "  INVALIDATOR_REDIS_ULR (environment): no such setting; "
        "did you mean INVALIDATOR_REDIS_URL?\n"
        "  INVALIDATOR_ADMIN__PORT (environment): "
        'found "http", expected a whole number from 0 to 65535\n'
    )


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "invalidator", "settings", "--json"],
            stdout=writer,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


# --- settings ---


def test_settings_are_shown_with_value_origin_default_and_meaning_in_a_hundred_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_TIMEOUT", "500ms")
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", "redis://user:hunter2@cache:6379/0")
    assert main(["settings"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("INVALIDATOR_REDIS_TIMEOUT="))
    assert lines[at].split(maxsplit=1)[0] == "INVALIDATOR_REDIS_TIMEOUT=500ms"
    assert lines[at].endswith("  (environment; default 2s)")
    assert lines[at + 1].startswith("    How long to wait for a reply from Redis")
    assert max(map(len, lines)) <= 100
    assert "redis://user:***@cache:6379/0" in shown
    assert "hunter2" not in shown


def test_a_value_too_long_for_one_line_has_its_origin_on_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVALIDATOR_PUBSUB__CHANNELS", "channel-" + "x" * 90)
    assert main(["settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("INVALIDATOR_PUBSUB__CHANNELS"))
    assert lines[at + 1] == "    (environment; default empty)"


def test_settings_as_json_come_from_the_env_file_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file = tmp_path / "prod.env"
    env_file.write_text("INVALIDATOR_STATE_URL=redis://:hunter2@state/0\n")
    assert main(["settings", "--json", "--env-file", str(env_file)]) == 0
    shown = capsys.readouterr().out
    state = next(s for s in json.loads(shown) if s["name"] == "INVALIDATOR_STATE_URL")
    assert state["value"] == "redis://:***@state/0"
    assert state["origin"] == f"env file {env_file}"
    assert state["default"] == "as INVALIDATOR_REDIS_URL"


def test_the_document_of_the_settings_is_current(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVALIDATOR_RULES", "what is set here does not matter")
    assert main(["settings", "--markdown"]) == 0
    written = capsys.readouterr().out
    assert (ROOT / "docs" / "settings.md").read_text() == written, (
        "write it again: invalidator settings --markdown > docs/settings.md"
    )


# --- run ---


def test_the_daemon_does_not_import_rich(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("print('rich was imported')")
    done = python(
        "-c",
        "import sys; from invalidator.cli import main; main(['--version'])\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import invalidator.daemon.daemon; from invalidator.runtime import logs\n"
        "logs.configure('console', 'info'); logs.structlog.get_logger().info('hello')",
    )
    assert (done.returncode, "hello" in done.stderr, "rich" in done.stdout) == (0, True, False)
