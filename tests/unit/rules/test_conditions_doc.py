"""Every example in docs/conditions.md gives the result that stands beside it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from invalidator.rules.condition import ConditionError
from invalidator.rules.condition.lexer import MAX_LENGTH
from invalidator.rules.condition.parser import FUNCTIONS, MAX_DEPTH, MAX_MACROS, METHODS, RESERVED
from invalidator.rules.condition.pattern import MAX_MEMORY, MAX_SUBJECT
from invalidator.rules.condition.runtime import MAX_SIZE
from invalidator.rules.condition.runtime import MAX_STEPS as MAX_ELEMENTS
from invalidator.rules.condition.tree import EVENT_FIELDS, ROOTS
from tests.conditions import function

TEXT = (Path(__file__).parents[3] / "docs" / "conditions.md").read_text(encoding="utf-8")


def event() -> dict[str, Any]:
    block = re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert block is not None
    roots: dict[str, Any] = json.loads(block[1])
    return roots


def examples() -> list[tuple[str, str]]:
    tables = re.findall(r"^\| Condition \| Result \|\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    rows = "".join(tables).splitlines()
    found = [re.fullmatch(r"\| `(.*)` \| (.*) \|", row) for row in rows]
    assert all(found), "a row that is no example"
    return [(row[1].replace(r"\|", "|"), row[2].replace(r"\|", "|")) for row in found if row]


@pytest.mark.parametrize(("condition", "result"), examples())
def test_an_example_gives_its_result(condition: str, result: str) -> None:
    try:
        answer = str(function(condition)(event())).lower()
    except ConditionError as error:
        answer = f"error: {error}"
    assert answer == result


def test_there_are_examples() -> None:
    assert len(examples()) > 50


def test_the_reference_names_everything() -> None:
    for name in (*FUNCTIONS, *METHODS):
        assert f"{name}(" in TEXT
    for root in ROOTS:
        assert f"`{root}`" in TEXT
    for field in EVENT_FIELDS:
        assert f"`event.{field}`" in TEXT
    assert " ".join(RESERVED) in TEXT


def test_the_bounds_are_those_of_the_code() -> None:
    bounds = (MAX_LENGTH, MAX_DEPTH, MAX_MACROS, MAX_MEMORY >> 20)
    larger = (MAX_ELEMENTS, MAX_SIZE, MAX_SUBJECT)
    table = TEXT.partition("## Bounds")[2]
    for written in (*map(str, bounds), *(f"{bound:,}" for bound in larger)):
        assert re.search(rf"[| ]{written}[ ,]", table), written
