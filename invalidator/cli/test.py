"""`invalidator test`: run the `tests:` of the rules."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from invalidator.cli.common import Verbs, add_rules, rules_path, say
from invalidator.runtime.terminal import paint, printable

_EPILOG = """\
examples:
  invalidator test              the tests of the rules that the daemon would use
  invalidator test rules.d      of a directory
  invalidator test --covered    also fail if a rule has no test

In a difference, - is missing from the result and + was not expected.
exit codes: 0 all pass, 1 some fail, 2 the rules cannot be used
"""


SHOWN: Final = 20  # names of rules without a test


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "test",
        help="run the tests in the rules",
        description="Runs the tests: of the rules through the planner of the daemon, and names "
        "the rules that no test covers.",
        epilog=_EPILOG,
    )
    add_rules(parser, positional=True)
    parser.add_argument("--covered", action="store_true", help="fail if a rule has no test")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.rules import load
    from invalidator.rules.explain.run_tests import run_tests

    results = run_tests(load(rules_path(args)))
    for result in results.results:
        place = result.test.place
        said = printable(f"{result.test.name}  ({place.file}:{place.line})")
        print(f"{_word(result.passed)} {said}")
        for line in result.differences:
            say(f"       {line}")
    failed = len(results.failed)
    print(f"{len(results.results) - failed} passed, {failed} failed")
    if results.uncovered:
        _say_uncovered(results.uncovered)
    return int(bool(failed) or (args.covered and bool(results.uncovered)))


def _word(passed: bool) -> str:
    return paint("ok  ", "green", sys.stdout) if passed else paint("FAIL", "red", sys.stdout)


def _say_uncovered(names: Sequence[str]) -> None:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    say(f"no test covers {len(names)}: {', '.join(names[:SHOWN])}{more}")
