"""Write-behind loses nothing and adds nothing twice, however its flushers interleave."""

import pytest

from tests.model.write_behind import CONFIGURATIONS, MOST, Configuration, explore


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda each: each.name)
def test_only_the_protocol_is_safe(configuration: Configuration) -> None:
    found = explore(configuration)
    seen = {"safe": not found.lost and not found.twice, "lost": found.lost, "twice": found.twice}
    assert seen[configuration.expected], found
    assert found.emptied, "nothing was ever flushed"
    assert configuration.expected != "safe" or found.states < MOST, "not all of it was explored"
