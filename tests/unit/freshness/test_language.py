"""`verify:` in a rules file, and what is said of its mistakes."""

from pathlib import Path

import pytest

from invalidator.errors import RulesError
from tests.integration.piping import rules_from

RULE = """
rules:
  - name: order
    on: order.updated
    invalidate: {keys: ["order:{id}"]}
    verify: %s
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{cached: v}", "expected one of event:, url: and sql:"),
        ("{event: v}", "expected either cached: or entry:"),
        ("{cached: v, entry: version, event: v}", "expected either cached: or entry:"),
        ("{cached: v, event: v, url: 'http://h'}", "expected one of event:, url: and sql:"),
        ("{cached: [a, b], event: v}", "2 fields cannot be compared with 1"),
        ("{cached: a, event: v, truth: v}", "truth: belongs to url: or sql:"),
        ("{entry: version, url: 'http://h'}", "say which field of the truth"),
        (
            "{cached: v, url: 'http://h/{ids}'}",
            "{ids} is no field in a template of keys; did you mean id?",
        ),
        ("{cachd: v, event: v}", "has no field cachd"),
    ],
)
def test_a_mistake_is_reported(tmp_path: Path, written: str, said: str) -> None:
    with pytest.raises(RulesError) as raised:
        rules_from(RULE % written, tmp_path)
    assert said in str(raised.value)


def test_what_is_left_out_is_called_as_in_the_cache(tmp_path: Path) -> None:
    rules = rules_from(
        RULE % "{cached: [a, b], sql: 'select a, b from o where id = {id}'}", tmp_path
    )
    verify = rules.verified["order"]
    assert verify.truth == verify.cached == ("a", "b")


def test_a_rule_that_is_off_is_not_verified(tmp_path: Path) -> None:
    rules = rules_from(RULE % "{cached: v, event: v}\n    enabled: false", tmp_path)
    assert rules.verified == {}
