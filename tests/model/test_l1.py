"""All interleavings of the L1 with the backplane: no stale read, and wrong rules are caught."""

import pytest

from tests.model.l1 import CONFIGURATIONS, Configuration, explore, shortest

SAFE = [each for each in CONFIGURATIONS if each.expected == "safe"]
WRONG = [each for each in CONFIGURATIONS if each.expected == "stale"]
SHORT = 12_000  # states of a safe configuration in `make test`


def _name(configuration: Configuration) -> str:
    return configuration.name


@pytest.mark.parametrize("configuration", WRONG, ids=_name)
def test_a_wrong_rule_serves_a_stale_copy(configuration: Configuration) -> None:
    assert explore(configuration, first=True).violations > 0


@pytest.mark.parametrize("configuration", SAFE, ids=_name)
def test_the_rules_serve_no_stale_copy(configuration: Configuration) -> None:
    assert explore(configuration, SHORT).violations == 0


@pytest.mark.slow
@pytest.mark.parametrize("configuration", SAFE, ids=_name)
def test_no_interleaving_of_the_rules_serves_a_stale_copy(configuration: Configuration) -> None:
    found = explore(configuration)
    assert found.whole
    assert found.violations == 0
    assert found.hits > 0


def test_the_way_to_a_stale_copy_is_shown() -> None:
    path = shortest(WRONG[0])
    assert path[0] == "R0 sends GET"
    assert path[-1].endswith("began with floor 1 and returned 0")
