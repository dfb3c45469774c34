"""Makes each sabotage in a copy of the tree; its rows must turn red there.

    python -m tests.mutants [--only NAME,NAME]

The rows are played on an untouched copy first: what is red anyway notices nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.edits import copy, misfits
from tests.mutants.sabotages import SABOTAGES, Edit, Sabotage

WITHIN = 600.0  # seconds for the rows of one sabotage


def main() -> int:
    chosen = _chosen(_arguments().only)
    if wrong := misfits(chosen):
        print("These do not fit the code any more:", *wrong, sep="\n  ")
        return 1
    rows = sorted({each.rows for each in chosen})
    if red := [row for row in rows if _red("untouched", row)]:
        print(f"Red without any sabotage: rows {', '.join(red)}")
        return 1
    missed = [each.name for each in chosen if not _red(each.name, each.rows, each.edits)]
    print(f"{len(chosen)} sabotages, {len(missed)} missed", *missed, sep="\n  ")
    return 1 if missed else 0


def _red(name: str, rows: str, edits: Iterable[Edit] = ()) -> bool:
    """Play the rows in a copy with these edits; return whether they failed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy(Path(folder), edits)
        red, said = _play(folder, rows)
    took = time.monotonic() - began
    verdict = f"red: {said}" if red else "green"
    print(f"{took:6.1f} s  {name}, rows {rows}: {verdict}", file=sys.stderr, flush=True)
    return red


def _play(folder: str, rows: str) -> tuple[bool, str]:
    """Return whether a row failed, and what the last one said."""
    command = [sys.executable, "-m", "tests.faults", "--short", "--rows", rows]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True, f"not over within {WITHIN:g} s"
    failed = [line for line in done.stdout.splitlines() if "**failed**: " in line]
    said = failed[-1].rpartition("**failed**: ")[2].strip(" |") if failed else done.stdout[-300:]
    return done.returncode != 0, said


def _chosen(names: str) -> list[Sabotage]:
    wanted = [name for name in names.split(",") if name]
    if unknown := set(wanted) - {each.name for each in SABOTAGES}:
        sys.exit(f"no such sabotage: {', '.join(sorted(unknown))}")
    return [each for each in SABOTAGES if not wanted or each.name in wanted]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAMES", help="these, divided by commas")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
