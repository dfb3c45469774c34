"""Copies of the tree, with edits."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.sabotages import Edit, Sabotage
from tests.pages import TOP

FOLDERS = ("invalidator", "tests")
FILES = (
    "docs/edge.md",
    "pyproject.toml",
)


class MisfitError(Exception):
    """The code has changed: the sabotage must follow it."""


def edited(text: str, edit: Edit) -> str:
    """Return the text after the edit. Raises MisfitError unless `old` occurs exactly once."""
    found = text.count(edit.old)
    if found != 1:
        raise MisfitError(f"{edit.file}: found {found} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)


def misfits(sabotages: Iterable[Sabotage], top: Path = TOP) -> list[str]:
    """Return why sabotages cannot be made in this tree."""
    found = []
    for each in sabotages:
        for edit in each.edits:
            try:
                edited((top / edit.file).read_text(), edit)
            except (MisfitError, OSError) as error:
                found.append(f"{each.name}: {error}")
    return found


def copy(target: Path, edits: Iterable[Edit] = ()) -> None:
    """Copy to `target` all that the fault harness needs, with the edits made."""
    for name in FOLDERS:
        shutil.copytree(TOP / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, target / name)
    for edit in edits:
        path = target / edit.file
        path.write_text(edited(path.read_text(), edit))
