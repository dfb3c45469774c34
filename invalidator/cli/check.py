"""`invalidator check`: report every mistake in the rules."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from invalidator.cli.common import Verbs, add_rules, as_json, plural, rules_path, say
from invalidator.runtime.terminal import Colour, paint, printable

if TYPE_CHECKING:
    from invalidator.rules.lint import Checked, Finding

_EPILOG = """\
examples:
  invalidator check                          the rules that the daemon would use
  invalidator check rules.d --format github  annotations in a pull request
  invalidator check rules.yaml --strict      also fail on warnings
  invalidator check --cache shop.data:cache  compare with a service's cached functions

exit codes: 0 the rules are valid, 1 they are not
"""

_COLOURS: dict[str, Colour] = {"error": "red", "warning": "yellow", "note": "dim"}


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "check",
        help="report every mistake in the rules",
        description="Checks rules without running them. Reports every mistake with file, line, "
        "column and a suggestion; then warnings about what is probably not intended.",
        epilog=_EPILOG,
    )
    add_rules(parser)
    parser.add_argument(
        "--format", choices=("text", "json", "github"), default="text", help="output format"
    )
    parser.add_argument("--strict", action="store_true", help="also exit 1 on warnings")
    parser.add_argument(
        "--cache",
        metavar="MODULE:OBJECT",
        action="append",
        default=[],
        help="a Cache or SyncCache of a service, which is imported: which of its templates no rule "
        "reaches, and which rules name what no template renders (may be repeated)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.rules.lint import check

    checked = check(rules_path(args.rules), **_known())
    if args.cache and checked.ruleset:
        from msgspec.structs import replace

        from invalidator.cli.declared import declared_by
        from invalidator.rules.coverage import compare

        declared = [each for name in args.cache for each in declared_by(name)]
        found = compare(checked.ruleset, declared)
        checked = replace(checked, findings=(*checked.findings, *found))
    {"text": _text, "json": _json, "github": _github}[args.format](checked)
    warned = any(entry.severity == "warning" for entry in checked.findings)
    return int(not checked.good or (args.strict and warned))


def _known() -> dict[str, Any]:
    """Return what the settings say about how the rules will be used."""
    from invalidator.errors import ConfigError
    from invalidator.settings import load
    from invalidator.settings.caches import read_origins

    try:
        settings = load(None)
    except ConfigError:  # rules can be checked without settings
        return {}
    return {"drain": settings.drain_timeout, "origins": read_origins(settings)}


def _text(checked: "Checked") -> None:
    for finding in checked.findings:
        where, _, rest = str(finding.problem).partition(": ")
        severity = paint(finding.severity, _COLOURS[finding.severity], sys.stdout)
        print(f"{printable(where)}: {severity}: {printable(rest)}")
    if checked.ruleset:
        rules = checked.ruleset
        say(f"{plural(len(rules.rules), 'rule')} valid, hash {rules.hash}")
    else:
        errors = sum(entry.severity == "error" for entry in checked.findings)
        say(f"{plural(errors, 'mistake')}: these rules cannot be used")


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
    print(as_json(found))


def _github(checked: "Checked") -> None:
    for entry in checked.findings:
        say(_annotation(entry))


def _annotation(entry: "Finding") -> str:
    kind = "notice" if entry.severity == "note" else entry.severity
    problem = entry.problem
    place = f"file={_escaped(problem.file, ',:')}"
    if problem.line:
        place += f",line={problem.line},col={problem.column}"
    text = f" ({problem.text})" if problem.text else ""
    return f"::{kind} {place}::{_escaped(problem.message + text)}"


def _escaped(text: str, more: str = "") -> str:
    """Return the text escaped for GitHub's workflow commands."""
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
