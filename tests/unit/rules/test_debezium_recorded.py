"""What Debezium really wrote is planned as docs/debezium.md says; `make test-real` records it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from invalidator.model import Batch, Plan, Record, Slice
from invalidator.rules import RuleSet
from invalidator.rules.explain.run_tests import run_tests
from tests.unit.rules.conftest import LIMIT, faults, names

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "debezium.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
RECORDED = sorted((ROOT / "tests" / "fixtures" / "debezium").glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_each_step_deletes_and_rejects_what_it_must(rules: Any, path: Path) -> None:
    recorded = json.loads(path.read_text())
    ruleset = rules(recorded["rules"])
    for step in recorded["steps"]:
        made = [planned(ruleset, record) for record in step["records"]]
        keys = {key for plan in made for key in names(plan).keys}
        rejected = {rule for plan in made for rule, _ in faults(plan)}
        assert (keys, rejected) == (set(step["keys"]), set(step["rejected"])), step["sql"]


def planned(ruleset: RuleSet, record: dict[str, Any]) -> Plan:
    """Plan one record twice: the second time its form is known."""
    texts = record["value"], record["key"]
    raw, key = (None if text is None else text.encode() for text in texts)
    headers = tuple((name, text.encode()) for name, text in record["headers"].items())
    one = Record("kafka", record["topic"], "0@1", raw, key, headers)
    part = Slice(record["topic"], [raw, raw], lambda _: one, [headers] * 2)
    return ruleset.plan(Batch("kafka", [part], 2, 0, None), max_event_bytes=LIMIT)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(at) for at in range(len(BLOCKS))])
def test_an_example_of_the_page_does_what_it_says(rules: Any, block: str) -> None:
    results = run_tests(rules(block))
    assert results.results
    assert [(result.test.name, result.differences) for result in results.failed] == []


def test_every_setting_of_the_page_is_recorded() -> None:
    texts = "\n".join(path.read_text() for path in RECORDED)
    section = PAGE.partition("## Settings")[2].partition("\n## ")[0]
    settings = re.findall(r"^\| `([a-z.]+)`", section, re.M)
    assert settings
    assert [name for name in settings if name not in texts] == []
