"""Searching backwards for the rule that could have given a name."""

from pathlib import Path

import pytest

from invalidator.model import Kind
from invalidator.rules import load
from invalidator.rules.explain.reach import could_name

RULES = """
version: 1
caches:
  eu: {prefix: "eu[1]:"}
rules:
  - name: orders
    on: order.updated
    cache: eu
    allow_broad: true
    invalidate:
      keys: ["order:{id}:v.2"]
      patterns: ["list:{id}:*"]
      tags: ["customer:{c}"]
      versions: ["orders"]
"""


@pytest.mark.parametrize(
    ("kind", "name", "fits"),
    [
        ("keys", "eu[1]:order:7:v.2", True),
        ("keys", "eu[1]:order:7\n:v.2", True),
        ("keys", "eu[1]:order:7:v-2", False),
        ("keys", "order:7:v.2", False),
        ("patterns", r"eu\[1\]:list:7:*", True),
        ("patterns", r"eu\[1\]:list:\*:*", True),
        ("patterns", r"eu\[1\]:users:*", False),
        ("tags", "customer:c1", True),
        ("tags", "eu[1]:customer:c1", False),
        ("tags", "order", False),
        ("versions", "orders", True),
        ("versions", "users", False),
    ],
)
def test_a_rule_could_name_what_its_templates_give(
    tmp_path: Path, kind: Kind, name: str, fits: bool
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    rules = load(tmp_path)
    assert could_name(rules.rules[0], rules.caches["eu"])(kind, name) is fits
