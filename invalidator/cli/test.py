"""`invalidator test`: run the `tests:` of the rules."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from invalidator.cli.check import annotation
from invalidator.cli.columns import painted, wrapped
from invalidator.cli.common import (
    Verbs,
    add_json,
    add_rules,
    add_settings,
    as_json,
    rules_path,
    say,
)
from invalidator.runtime.terminal import Colour, printable

if TYPE_CHECKING:
    from invalidator.rules.explain.run_tests import Results

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
        description="Runs the `tests:` of the rules through the planner of the daemon, and names "
        "the rules that no test covers.",
        epilog=_EPILOG,
    )
    add_rules(parser, positional=True)
    parser.add_argument(
        "--format",
        choices=("text", "json", "github", "junit"),
        default="text",
        help="output format",
    )
    add_json(parser, "as --format json")
    add_settings(parser, redis=False)
    parser.add_argument("--covered", action="store_true", help="fail if a rule has no test")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.rules import load
    from invalidator.rules.explain.run_tests import run_tests

    results = run_tests(load(rules_path(args)))
    form = "json" if args.json else args.format
    {"text": _text, "json": _json, "github": _github, "junit": _junit}[form](results)
    return int(bool(results.failed) or (args.covered and bool(results.uncovered)))


def _text(results: "Results") -> None:
    for result in results.results:
        place = result.test.place
        said = printable(f"{result.test.name}  ({place.file}:{place.line})")
        print("\n".join(wrapped(said, indent="     ", first=f"{_word(result.passed)} ")))
        for line in result.differences:
            colour: Colour = "green" if line.startswith("+") else "red"
            print("\n".join(painted(part, colour) for part in _difference(printable(line))))
    failed = len(results.failed)
    passed = len(results.results) - failed
    shown = painted(f"{failed} failed", "red") if failed else "0 failed"
    print(f"{passed} passed, {shown}")
    if results.uncovered:
        _say_uncovered(results.uncovered)


def _difference(line: str) -> list[str]:
    return wrapped(line, indent=" " * 9, first=" " * 7)


def _json(results: "Results") -> None:
    tests = [
        {
            "name": result.test.name,
            "file": result.test.place.file,
            "line": result.test.place.line,
            "passed": result.passed,
            "differences": result.differences,
        }
        for result in results.results
    ]
    failed = len(results.failed)
    counts = {"passed": len(tests) - failed, "failed": failed}
    print(as_json({**counts, "tests": tests, "uncovered": results.uncovered}))


def _github(results: "Results") -> None:
    for problem in results.problems():
        say(annotation("error", problem))


def _junit(results: "Results") -> None:
    from xml.sax.saxutils import escape, quoteattr

    failed = len(results.failed)
    name = quoteattr("invalidator test")
    print('<?xml version="1.0" encoding="UTF-8"?>')
    print(f'<testsuite name={name} tests="{len(results.results)}" failures="{failed}">')
    for result in results.results:
        place, called = result.test.place, quoteattr(printable(result.test.name))
        head = f'  <testcase classname={quoteattr(place.file)} name={called} line="{place.line}"'
        if result.passed:
            print(f"{head}/>")
            continue
        told = escape(printable("\n".join(result.differences)))
        print(f'{head}>\n    <failure message="differs">{told}</failure>\n  </testcase>')
    print("</testsuite>")


def _word(passed: bool) -> str:
    return painted("ok  ", "green") if passed else painted("FAIL", "red")


def _say_uncovered(names: Sequence[str]) -> None:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    said = f"no test covers {len(names)}: {', '.join(names[:SHOWN])}{more}"
    say("\n".join(wrapped(said, indent="  ", first="")))
