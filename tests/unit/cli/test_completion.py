"""Completion, asked of bash itself."""

import argparse
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from invalidator.cli import main, parser

BASH = """
source ./completion
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_invalidator
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    (folder / "completion").write_text(capsys.readouterr().out)
    (folder / "rules.yaml").write_text("")


def in_bash(folder: Path, *words: str) -> set[str]:
    command = ["bash", "-c", BASH, "bash", "invalidator", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(filter(None, done.stdout.splitlines()))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pu"], {"publish", "purge"}),
        (["publish", "--to", ""], {"pubsub", "stream", "kafka"}),
        (["publish", "t", "{}", "--to", "p"], {"pubsub"}),
        (["publish", "--re"], {"--record-key", "--redis-url"}),
        (["--debug", "audit", "--only", "t"], {"tag-expires-first"}),
        (["run", "--rules", "r"], {"rules.yaml"}),
        (["check", "r"], {"rules.yaml"}),
        (["purge", "--why", ""], set()),
        (["dead", "list", "--r"], {"--rule", "--redis-url"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["--v"], {"--version"}),
    ],
)
def test_bash_completes(
    words: list[str], offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script("bash", tmp_path, capsys)
    assert in_bash(tmp_path, *words) == offered


def test_exactly_the_options_of_a_verb_are_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script("bash", tmp_path, capsys)
    verbs = dict(_verbs(parser()))
    assert len(verbs) > 15
    for words, accepted in verbs.items():
        assert in_bash(tmp_path, *words, "--") == accepted, words


def _verbs(
    line: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    inner = [each for each in line._actions if isinstance(each, argparse._SubParsersAction)]
    for name, verb in (pair for each in inner for pair in each.choices.items()):
        yield from _verbs(verb, (*words, name))
    if not inner:
        yield words, {name for name in line._option_string_actions if name.startswith("--")}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_read_it(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(shell, tmp_path, capsys)
    if shutil.which(shell):
        subprocess.run([shell, "-n", "completion"], cwd=tmp_path, check=True)


def test_an_unknown_shell_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "powershell"]) == 2
    assert "bash" in capsys.readouterr().err
