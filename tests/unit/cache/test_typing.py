"""mypy --strict and pyright find wrong calls of cached functions."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api

from tests.backends.choose import missing

PLANTED = Path(__file__).parent / "planted.py.txt"
ROOT = Path(__file__).parents[3]
PYRIGHT = Path(sys.executable).with_name("pyright")


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return Path(shutil.copy(PLANTED, tmp_path / "planted.py"))


def planted() -> set[int]:
    lines = PLANTED.read_text().splitlines()
    return {n for n, line in enumerate(lines, 1) if "# planted" in line}


def test_mypy_finds_the_planted_errors_and_no_others(module: Path) -> None:
    report, _, _ = api.run(["--strict", "--disable-error-code=empty-body", str(module)])
    found = {int(line) for line in re.findall(r"planted\.py:(\d+): error", report)}
    assert found == planted(), report


def test_pyright_finds_the_planted_errors_and_no_others(module: Path) -> None:
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    module.with_name("pyrightconfig.json").write_text(json.dumps(settings))
    if not PYRIGHT.exists():
        missing("no pyright: make .venv/.dev installs it")
    command = [
        str(PYRIGHT),
        "-p",
        str(module.parent),
        "--pythonpath",
        sys.executable,
        "--outputjson",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if not run.stdout.startswith("{"):  # it fetches its JavaScript when it first runs
        missing(f"pyright does not start: {run.stderr or run.stdout}")
    errors = json.loads(run.stdout)["generalDiagnostics"]
    found = {each["range"]["start"]["line"] + 1 for each in errors if each["severity"] == "error"}
    assert found == planted(), errors
