"""Imports go down only: who reads a module needs to know nothing of those above it."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import invalidator

HOUSE = Path(invalidator.__file__).parent

# From the ground up. A module imports from lower layers; from its own, while no circle results.
LAYERS = (
    ("__init__", "errors", "layout", "runtime"),
    ("model", "templates"),
    ("rules", "settings"),
    ("redisclient",),
    ("sources", "targets"),
    ("deadletters",),
    ("pipeline",),
    ("freshness",),
    ("daemon", "admin"),
    ("cli",),
    ("__main__",),
)
# The read side lives in other people's services: it may bring nothing else along.
ALONE = {"cache": {"__init__", "errors", "layout", "templates"}}

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

Imports = Mapping[str, set[str]]  # part of the house -> parts it imports


def imports_of(house: Path) -> Imports:
    """What each top-level module or package imports, whether at its head or in a function."""
    found: dict[str, set[str]] = {}
    for path in sorted(house.rglob("*.py")):
        place = path.relative_to(house).with_suffix("").parts
        found.setdefault(place[0], set()).update(_imported(path, place, house))
    return {part: targets - {part} for part, targets in found.items()}


def _imported(path: Path, place: tuple[str, ...], house: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [house.name, *place][: -node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        yield from (_part(name[1:], house) for name in names if name[0] == house.name)


def _part(name: list[str], house: Path) -> str:
    """`invalidator.errors.Rejected` is of errors; `invalidator.__version__` of the house itself."""
    first = name[0] if name else "__init__"
    is_part = (house / first).is_dir() or (house / f"{first}.py").exists()
    return first if is_part else "__init__"


def faults(imports: Imports) -> list[str]:
    """Every import that does not go down, as a sentence."""
    unknown = sorted(part for part in imports if part not in LEVEL and part not in ALONE)
    return (
        [f"{part} is new: place it in LAYERS of {Path(__file__).name}" for part in unknown]
        + [
            f"{part} imports {target}, which is above it"
            for part, targets in imports.items()
            for target in sorted(targets)
            if _goes_up(part, target)
        ]
        + _circles(imports)
    )


def _goes_up(part: str, target: str) -> bool:
    if part in ALONE:
        return target not in ALONE[part]
    if part not in LEVEL or target not in LEVEL:
        return target in ALONE  # the daemon does not need the read side
    return LEVEL[target] > LEVEL[part]


def _circles(imports: Imports) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return ["a circle: " + " -> ".join(error.args[1])]
    return []


def test_every_import_goes_down() -> None:
    found = imports_of(HOUSE)
    assert {"errors", "layout", "model"} <= set(found)
    assert faults(found) == []


@pytest.mark.parametrize(
    ("imports", "fault"),
    [
        ({"errors": {"cli"}}, "errors imports cli, which is above it"),
        ({"cache": {"targets"}}, "cache imports targets, which is above it"),
        ({"rules": {"cache"}}, "rules imports cache, which is above it"),
        ({"attic": set()}, "attic is new: place it in LAYERS of test_imports_go_down.py"),
    ],
)
def test_what_does_not_go_down_is_found(imports: Imports, fault: str) -> None:
    assert faults(imports) == [fault]


def test_a_circle_within_a_layer_is_found() -> None:
    (found,) = faults({"targets": {"sources"}, "sources": {"targets"}})
    assert found in (
        "a circle: targets -> sources -> targets",
        "a circle: sources -> targets -> sources",
    )


def test_an_import_goes_down_or_stays_in_its_layer_without_a_circle() -> None:
    assert (
        faults({"targets": {"sources", "errors"}, "sources": {"model"}, "cache": {"layout"}}) == []
    )


def test_every_way_of_writing_an_import_is_seen(tmp_path: Path) -> None:
    house = tmp_path / "house"
    (house / "store").mkdir(parents=True)
    for name in ("errors", "model", "retry", "logs", "layout", "cli"):
        (house / f"{name}.py").write_text("")
    (house / "store" / "keys.py").write_text(
        "import house.errors\n"
        "from house import layout, __version__\n"
        "from house.model import Batch\n"
        "from ..retry import again\n"
        "from . import sweep\n"
        "import asyncio\n"
        "def late():\n"
        "    from .. import logs\n"
    )
    seen = {"errors", "layout", "__init__", "model", "retry", "logs"}
    assert imports_of(house)["store"] == seen
