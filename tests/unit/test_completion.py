"""Completion, asked of the shells themselves."""

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from invalidator.cli import main, parser
from invalidator.cli.completion import _SHELLS
from invalidator.cli.grammar import grammar

BASH = """
set -u
source ./completion
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_invalidator
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    return name


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    (folder / "completion").write_text(capsys.readouterr().out)
    (folder / "rules.yaml").write_text("")
    (folder / "with space.yaml").write_text("")


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
        (["publish", "--to", "="], {"pubsub", "stream", "kafka"}),
        (["publish", "--to", "=", "k"], {"kafka"}),
        (["publish", "--re"], {"--record-key", "--redis-url"}),
        (["--debug", "audit", "--only", "t"], {"tag-expires-first"}),
        (["run", "--rules", "r"], {"rules.yaml"}),
        (["check", "with"], {"with space.yaml"}),
        (["check", "--f"], {"--format"}),
        (["purge", "--why", ""], set()),
        (["completion", ""], {"bash", "zsh", "fish", "--help", "--debug"}),
        (["--v"], {"--version"}),
    ],
)
def test_bash_completes(
    words: list[str], offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script("bash", tmp_path, capsys)
    assert in_bash(tmp_path, *words) == offered


def test_every_verb_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script("bash", tmp_path, capsys)
    offered = {word for word in in_bash(tmp_path, "") if not word.startswith("-")}
    _, verbs = grammar(parser())
    assert offered == {verb.name for verb in verbs}
    assert len(offered) > 8


def test_fish_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("fish") is None:
        pytest.skip("there is no fish")
    script("fish", tmp_path, capsys)

    def ask(line: str) -> set[str]:
        command = ["fish", "-c", f"source ./completion; complete -C '{line}'"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return {found.partition("\t")[0] for found in done.stdout.splitlines()}

    assert ask("invalidator pu") == {"publish", "purge"}
    assert ask("invalidator publish --to ") == {"pubsub", "stream", "kafka"}
    assert "--record-key" in ask("invalidator publish --rec")


def test_a_shell_can_read_it(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(shell, tmp_path, capsys)
    subprocess.run([shell, "-n", "completion"], cwd=tmp_path, check=True)


def test_a_verb_with_verbs_of_its_own_offers_theirs(tmp_path: Path) -> None:
    line = argparse.ArgumentParser("invalidator")
    verbs = line.add_subparsers()
    inner = verbs.add_parser("dead", help="dead letters").add_subparsers()
    inner.add_parser("list").add_argument("--rule", metavar="NAME")
    inner.add_parser("show").add_argument("--rule", metavar="NAME")
    for shell, written in _SHELLS.items():
        text = "\n".join(written(*grammar(line)))
        assert text.count("dead letters") == (shell != "bash"), shell
        assert "list" in text
        assert "rule" in text


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err
