"""mypy --strict finds wrong calls of cached functions."""

import re
import shutil
from pathlib import Path

from mypy import api

PLANTED = Path(__file__).parent / "planted.py.txt"


def test_mypy_finds_the_planted_errors_and_no_others(tmp_path: Path) -> None:
    module = tmp_path / "planted.py"
    shutil.copy(PLANTED, module)
    report, _, _ = api.run(["--strict", "--disable-error-code=empty-body", str(module)])
    found = {int(line) for line in re.findall(r"planted\.py:(\d+): error", report)}
    lines = PLANTED.read_text().splitlines()
    assert found == {n for n, line in enumerate(lines, 1) if "# planted" in line}, report
