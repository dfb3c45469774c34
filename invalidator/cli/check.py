"""`invalidator check`: every mistake of the rules at once."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from invalidator.cli.common import Verbs
from invalidator.cli.rules_path import add_rules, rules_path
from invalidator.runtime.terminal import Colour, paint

if TYPE_CHECKING:
    from invalidator.rules.lint.lint import Checked, Finding

_EPILOG = """\
examples:
  invalidator check                          the rules that the daemon would read
  invalidator check rules.d --format github  annotations in a pull request
  invalidator check rules.yaml --strict      warnings fail it too

exit codes: 0 the rules are in order, 1 they are not
"""

_COLOURS: dict[str, Colour] = {"error": "red", "warning": "yellow", "note": "dim"}


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "check",
        help="check rules: every mistake, with its place",
        description="Checks rules without running them: every mistake with file, line, column "
        "and what to write instead; then what may be meant otherwise.",
        epilog=_EPILOG,
    )
    add_rules(parser)
    parser.add_argument(
        "--format", choices=("text", "json", "github"), default="text", help="how to print it"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 on warnings too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.rules.lint.lint import check

    checked = check(rules_path(args.rules), **_known())
    {"text": _text, "json": _json, "github": _github}[args.format](checked)
    warned = any(entry.severity == "warning" for entry in checked.findings)
    return int(not checked.good or (args.strict and warned))


def _known() -> dict[str, Any]:
    """What the settings here say of how the rules will be used."""
    from invalidator.errors import ConfigError
    from invalidator.settings import load
    from invalidator.settings.origins import origins

    try:
        settings = load(None)
    except ConfigError:  # rules are in order without settings
        return {}
    return {"drain": settings.drain_timeout, "origins": origins(settings)}


def _text(checked: "Checked") -> None:
    for finding in checked.findings:
        where, _, rest = str(finding.problem).partition(": ")
        severity = paint(finding.severity, _COLOURS[finding.severity], sys.stdout)
        print(f"{where}: {severity}: {rest}")
    if checked.ruleset:
        rules = checked.ruleset
        count = len(rules.rules)
        print(f"{count} rule{'s' if count != 1 else ''} in order, hash {rules.hash}")
    else:
        errors = sum(entry.severity == "error" for entry in checked.findings)
        print(f"{errors} mistake{'s' if errors != 1 else ''}: these rules cannot be used")


def _json(checked: "Checked") -> None:
    from msgspec import to_builtins

    findings = [
        {"severity": entry.severity, **to_builtins(entry.problem)} for entry in checked.findings
    ]
    found = {
        "ok": checked.good,
        "hash": checked.ruleset.hash if checked.ruleset else None,
        "findings": findings,
    }
    print(json.dumps(found, indent=2))


def _github(checked: "Checked") -> None:
    for entry in checked.findings:
        print(_annotation(entry))


def _annotation(entry: "Finding") -> str:
    kind = "notice" if entry.severity == "note" else entry.severity
    problem = entry.problem
    place = f"file={_escaped(problem.file, ',:')}"
    if problem.line:
        place += f",line={problem.line},col={problem.column}"
    text = f" ({problem.text})" if problem.text else ""
    return f"::{kind} {place}::{_escaped(problem.message + text)}"


def _escaped(text: str, more: str = "") -> str:
    """As GitHub's workflow commands want it."""
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
