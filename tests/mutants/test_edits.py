"""An edit is made exactly where it was meant, or not at all."""

from pathlib import Path

import pytest

from tests.mutants.edits import MisfitError, copy, edited, misfits
from tests.mutants.sabotages import SABOTAGES, Edit, sabotage


def test_an_edit_replaces_the_one_place_that_it_names() -> None:
    assert edited("a = 1\nb = 2\n", Edit("x.py", "b = 2", "b = 3")) == "a = 1\nb = 3\n"


@pytest.mark.parametrize(("text", "times"), [("b", 0), ("a a", 2)])
def test_an_edit_that_does_not_fit_is_named(text: str, times: int) -> None:
    with pytest.raises(MisfitError, match=f"x.py: found {times} times, not once: 'a'"):
        edited(text, Edit("x.py", "a", "c"))


def test_all_that_do_not_fit_are_named_before_anything_is_played(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("a")
    made = [
        sabotage("fits", "1", ("x.py", "a", "b")),
        sabotage("changed", "1", ("x.py", "c", "d")),
        sabotage("gone", "1", ("y.py", "a", "b")),
    ]
    first, second = misfits(made, tmp_path)
    assert first.startswith("changed: x.py: found 0 times")
    assert second.startswith("gone: ")


def test_a_copy_has_the_edits(tmp_path: Path) -> None:
    copy(tmp_path, [Edit("tests/mutants/__init__.py", "Sabotages", "Mistakes")])
    assert "Mistakes of the daemon" in (tmp_path / "tests/mutants/__init__.py").read_text()
    assert (tmp_path / "tests" / "faults" / "__main__.py").exists()


def test_every_sabotage_has_a_name_of_its_own() -> None:
    assert len({each.name for each in SABOTAGES}) == len(SABOTAGES)
