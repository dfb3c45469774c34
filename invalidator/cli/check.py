"""`invalidator check`: report every mistake in the rules."""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invalidator.cli.columns import painted, width, wrapped
from invalidator.cli.common import (
    Verbs,
    add_json,
    add_rules,
    add_settings,
    as_json,
    plural,
    rules_path,
    say,
    settings_of,
)
from invalidator.runtime.terminal import Colour, printable

if TYPE_CHECKING:
    from invalidator.errors import Problem
    from invalidator.rules.lint import Checked

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
    add_rules(parser, positional=True)
    parser.add_argument(
        "--format", choices=("text", "json", "github"), default="text", help="output format"
    )
    add_json(parser, "as --format json")
    add_settings(parser, redis=False)
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

    checked = check(rules_path(args), **_known(args))
    if args.cache and checked.ruleset:
        from msgspec.structs import replace

        from invalidator.cli.declared import declared_by
        from invalidator.rules.coverage import compare

        declared = [each for name in args.cache for each in declared_by(name)]
        found = compare(checked.ruleset, declared)
        checked = replace(checked, findings=(*checked.findings, *found))
    form = "json" if args.json else args.format
    {"text": _text, "json": _json, "github": _github}[form](checked)
    warned = any(entry.severity == "warning" for entry in checked.findings)
    return int(not checked.good or (args.strict and warned))


def _known(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the settings say about how the rules will be used."""
    from invalidator.errors import ConfigError
    from invalidator.settings.caches import read_origins

    try:
        settings = settings_of(args)
    except ConfigError:  # rules can be checked without settings
        return {}
    return {"drain": settings.drain_timeout, "origins": read_origins(settings)}


def _text(checked: "Checked") -> None:
    files: dict[str, list[str]] = {}
    for finding in checked.findings:
        problem, severity = finding.problem, finding.severity
        where, _, _ = str(problem).partition(": ")
        said = f"{where}: {severity}: {problem.message}"
        first, *more = wrapped(printable(said).replace("\n", " "), indent="    ", first="")
        word = f": {severity}: "
        print(first.replace(word, f": {painted(severity, _COLOURS[severity])}: ", 1))
        for line in [*more, *_shown(problem, files)]:
            print(line)
    rules = checked.ruleset
    counts = Counter(finding.severity for finding in checked.findings)
    told = [plural(counts[word], word) for word in ("warning", "note") if counts[word]]
    if rules:
        good = painted(f"{plural(len(rules.rules), 'rule')} valid", "green")
        print(", ".join([f"{good}, hash {rules.hash}", *told]))
    else:
        wrong = painted(plural(counts["error"], "mistake"), "red")
        print(f"{wrong}: these rules cannot be used")


def _shown(problem: "Problem", files: dict[str, list[str]]) -> Iterator[str]:
    """Yield the line of the file with a caret below the place; else the text that is meant."""
    if problem.file not in files:
        try:
            files[problem.file] = Path(problem.file).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            files[problem.file] = []
    lines = files[problem.file]
    if not 0 < problem.line <= len(lines) or "\n" in problem.text:
        yield from (f"    {printable(line)}" for line in problem.text.splitlines())
        return
    line, at = lines[problem.line - 1].replace("\t", " "), problem.column - 1
    head = f"{problem.line:5} | "
    room = width() - len(head)
    start = max(0, min(at - room // 2, len(line) - room)) if len(line) > room else 0
    yield head + printable(line[start : start + room])
    yield " " * 6 + "| " + " " * len(printable(line[start:at])) + painted("^", "yellow")


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
        kind = "notice" if entry.severity == "note" else entry.severity
        say(annotation(kind, entry.problem))


def annotation(kind: str, problem: "Problem") -> str:
    """Return a workflow command of GitHub that annotates a pull request."""
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
