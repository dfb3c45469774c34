"""All interleavings of the read side's protocol: no stale read, and wrong variants are caught."""

import pytest

from tests.model.configurations import CONFIGURATIONS
from tests.model.explore import explore, shortest
from tests.model.state import Configuration

SAFE = [each for each in CONFIGURATIONS if each.expected == "safe"]
WRONG = [each for each in CONFIGURATIONS if each.expected == "stale"]
SHORT = 12_000  # states of a safe configuration in `make test`


def _name(configuration: Configuration) -> str:
    return configuration.name


@pytest.mark.parametrize("configuration", WRONG, ids=_name)
def test_a_wrong_variant_serves_a_stale_value(configuration: Configuration) -> None:
    assert explore(configuration).violations > 0


@pytest.mark.parametrize("configuration", SAFE, ids=_name)
def test_the_protocol_serves_no_stale_value(configuration: Configuration) -> None:
    found = explore(configuration, SHORT)
    assert found.violations == 0


@pytest.mark.slow
@pytest.mark.parametrize("configuration", SAFE, ids=_name)
def test_no_interleaving_of_the_protocol_serves_a_stale_value(configuration: Configuration) -> None:
    found = explore(configuration)
    assert found.whole
    assert found.violations == 0
    assert found.hits > 0


def test_the_way_to_a_stale_read_is_shown() -> None:
    path = shortest(WRONG[0])
    assert path[0] == "R0 miss"
    assert path[-1] == "reader 1 began with floor 1 and returned 0"
