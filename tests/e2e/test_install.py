"""It is installed as the documents say, in an environment of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import invalidator
from tests.pages import TOP, apart

OURS = ("invalidator*", "__editable__*", "__pycache__")
CLONED = ("pyproject.toml", "README.md", "LICENSE")
WHOLE = {"python3": f'{sys.executable} "$@"'}
# Without what takes longest: pip's own place in the new environment, and a look at requirements.
SHORT = {"python3": f'{sys.executable} "$@" --without-pip', "pip": 'python -m pip "$@" --no-deps'}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Copy what a build reads of this repository."""
    folder = tmp_path / "clone"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TOP / "invalidator", folder / "invalidator", ignore=ignore)
    for name in CLONED:
        shutil.copy(TOP / name, folder)
    return folder


@pytest.fixture
def required(tmp_path: Path) -> Path:
    """Make a folder with all requirements, so that nothing is downloaded."""
    folder = tmp_path / "required"
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not any(path.match(name) for name in OURS):
            (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize(
    "programs", [SHORT, pytest.param(WHOLE, marks=pytest.mark.slow)], ids=["short", "whole"]
)
def test_it_is_installed_as_the_first_pages_say(
    clone: Path, required: Path, tmp_path: Path, programs: dict[str, str]
) -> None:
    first, again = sorted((block.text for block in apart(__file__)), key=len, reverse=True)
    assert again in first  # README.md says the end of it
    (tmp_path / "bin").mkdir()
    for name, call in programs.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\nexec {call}\n")
        path.chmod(0o755)
    told = {
        "PATH": f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(required),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which means yes
    }
    done = subprocess.run(
        [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            f"{first}\ncommand -v invalidator\ninvalidator --version",
        ],
        cwd=clone,
        env=os.environ | told,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    where, version = done.stdout.splitlines()[-2:]
    assert where == f"{tmp_path}/invalidator/bin/invalidator"
    assert version == f"invalidator {invalidator.__version__}"
