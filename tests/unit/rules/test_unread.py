"""Rules for topics, channels or streams that nobody reads."""

from collections.abc import Callable

import pytest

from invalidator.rules import RuleSet
from invalidator.rules.lint.lint import unread


@pytest.mark.parametrize(
    ("source", "origins", "reached"),
    [
        ("orders", ("orders",), True),
        ("ordrs", ("orders",), False),
        ("[ordrs, orders]", ("orders",), True),
        ("'eu.*'", ("eu.orders",), True),
        ("'eu.*'", ("us.orders",), False),
        ("eu.orders", ("eu.*",), True),  # a glob of pub/sub
        ("'*.orders'", ("eu.*",), True),
        ("us.orders", ("eu.*",), False),
        ("eu.orders", (r"^eu\..*",), True),  # topics by an expression
        ("us.orders", (r"^eu\..*",), False),
        ("'eu.*'", (r"^eu\..*",), True),
        ("ordrs", (), True),  # what is read is not known
    ],
)
def test_a_rule_is_reached_from_what_is_read(
    source: str, origins: tuple[str, ...], reached: bool, rules: Callable[[str], RuleSet]
) -> None:
    made = rules(f"rules: [{{name: r, on: t, source: {source}, invalidate: {{keys: k}}}}]")
    assert ([*unread(made.rules, origins)] == []) is reached


def test_the_nearest_name_is_told(rules: Callable[[str], RuleSet]) -> None:
    made = rules("rules: [{name: r, on: t, source: ordrs, invalidate: {keys: k}}]")
    [(rule, said)] = unread(made.rules, ("orders", "users"))
    assert (rule.name, said.partition("; ")[2]) == ("r", "did you mean orders?")


def test_a_rule_that_is_off_or_takes_all_is_no_matter(rules: Callable[[str], RuleSet]) -> None:
    made = rules("""rules:
  - {name: off, on: t, source: x, enabled: false, invalidate: {keys: k}}
  - {name: all, on: t, invalidate: {keys: k}}
""")
    assert [*unread(made.rules, ("orders",))] == []
