"""Run the `tests:` of rules files: events, and exactly what they must invalidate."""

import json
from collections.abc import Iterator

from msgspec import Struct

from invalidator.errors import Problem, RulesError
from invalidator.model import KINDS, Record
from invalidator.rules.explain.explain import Explanation
from invalidator.rules.rule import Test
from invalidator.rules.ruleset import RuleSet


class Result(Struct, frozen=True):
    """The result of one test."""

    test: Test
    differences: tuple[str, ...]  # lines such as "- keys    order:1"; none: it passed
    matched: frozenset[str]  # rules that applied

    @property
    def passed(self) -> bool:
        return not self.differences


class Results(Struct, frozen=True):
    results: tuple[Result, ...]
    uncovered: tuple[str, ...]  # enabled rules that no test makes apply

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if not result.passed)

    def problems(self) -> list[Problem]:
        """Return failed tests as problems of the file."""
        return [
            Problem(
                result.test.place.file,
                result.test.place.line,
                result.test.place.column,
                f"the test fails: {result.test.name}",
                "\n    ".join(result.differences),
            )
            for result in self.failed
        ]


def run_tests(ruleset: RuleSet) -> Results:
    """Run every test of a rule set, with the planner that the daemon runs."""
    results = tuple(_run(ruleset, test) for test in ruleset.tests)
    covered = frozenset(name for result in results for name in result.matched)
    names = [rule.name for rule in ruleset.rules if rule.enabled]
    return Results(results, tuple(name for name in names if name not in covered))


def require_passing(ruleset: RuleSet) -> RuleSet:
    """Return the rule set, or raise a RulesError if its own tests fail."""
    problems = run_tests(ruleset).problems()
    if problems:
        raise RulesError(problems)
    return ruleset


def _run(ruleset: RuleSet, test: Test) -> Result:
    explanation = ruleset.explain(_record(test), only_matching=True)
    applied = (verdict.rule for verdict in explanation.verdicts if verdict.matched)
    return Result(test, tuple(_differences(test, explanation)), frozenset(applied))


def _record(test: Test) -> Record:
    headers = tuple((name, value.encode()) for name, value in test.headers)
    key = None if test.key is None else test.key.encode()
    raw = json.dumps(test.event).encode()  # integers of any size, unlike orjson
    return Record("test", test.source, "", raw, key, headers)


def _differences(test: Test, explanation: Explanation) -> Iterator[str]:
    """Yield lines: `-` was expected and missing, `+` was not expected."""
    if explanation.fault:
        yield f"! {explanation.fault.message}"
        return
    for kind in KINDS:
        found = {name.name for name in explanation.names if name.kind == kind}
        yield from (f"- {kind:8} {name}" for name in sorted(test.names[kind] - found))
        yield from (f"+ {kind:8} {name}" for name in sorted(found - test.names[kind]))
    faults = {
        verdict.rule: f"{verdict.fault.what}: {verdict.fault.message}"
        for verdict in explanation.verdicts
        if verdict.fault
    }
    yield from (f"- rejected {name}" for name in sorted(test.rejected.keys() - faults.keys()))
    for name in sorted(faults.keys() - test.rejected.keys()):
        yield f"+ rejected {name}: {faults[name]}"
