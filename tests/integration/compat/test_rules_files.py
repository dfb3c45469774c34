"""The rules files of this folder are ones to copy: checked, and each rule covered by a test."""

import pytest

from invalidator.rules.explain.run_tests import run_tests
from tests.integration.compat.happening import HERE, rules_of

FILES = sorted(path.stem for path in HERE.glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_the_rules_do_what_their_own_tests_say(name: str) -> None:
    results = run_tests(rules_of(name))
    assert [(result.test.name, result.differences) for result in results.failed] == []
    assert results.uncovered == ()
