"""Events that happen: through a running pipeline, by a rules file that lies beside the tests."""

from pathlib import Path
from typing import Any

import orjson

from invalidator.rules import RuleSet
from invalidator.rules.lint import check
from tests.backends import until
from tests.integration.piping import piping

HERE = Path(__file__).parent


class Source:
    """What a cache is filled from, and how often it was asked."""

    def __init__(self) -> None:
        self.value = "old"
        self.loads = 0

    def load(self) -> str:
        self.loads += 1
        return self.value

    def change(self) -> None:
        self.value = "new"


def rules_of(name: str) -> RuleSet:
    checked = check(HERE / f"{name}.yaml")
    assert checked.ruleset, [str(finding.problem) for finding in checked.findings]
    return checked.ruleset


async def happen(rules: str, redis_url: str, *events: dict[str, Any]) -> None:
    """Until all of them are settled."""
    async with piping(rules_of(rules), redis_url) as bench:
        for event in events:
            bench.source.publish(orjson.dumps(event))
        await until(lambda: bench.source.settled == len(events))
