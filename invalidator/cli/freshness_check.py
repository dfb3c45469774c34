"""Do what `invalidator freshness check` does once its arguments are read."""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import to_builtins

from invalidator.cli.common import UsageError, as_json, plural, rules_path, say, settings_of
from invalidator.freshness.family import Comparison, Report
from invalidator.freshness.truth import Truths, check_truth
from invalidator.rules import RuleSet
from invalidator.rules import load as load_rules
from invalidator.runtime import logs
from invalidator.runtime.health import Health
from invalidator.runtime.terminal import Progress
from invalidator.runtime.text import nearest
from invalidator.targets.build import store_of


def check(args: argparse.Namespace) -> int:
    """Compare what the arguments name; print and write the report."""
    report = asyncio.run(_compared(args))
    if args.report:
        Path(args.report).write_text(as_json(to_builtins(report)) + "\n")
    say(as_json(to_builtins(report)) if args.json else "\n".join(_lines(report)))
    return int(bool(report.stale))


async def _compared(args: argparse.Namespace) -> Report:
    settings = settings_of(args)
    logs.configure("console", "error")
    rules = load_rules(rules_path(args))
    _check_names(args.rule, rules)
    chosen = args.rule or rules.verified
    check_truth({n: each for n, each in rules.verified.items() if n in chosen}, settings)
    async with AsyncExitStack() as stack:
        store = store_of(settings, Health())
        stack.push_async_callback(store.close)
        truths = Truths(settings)
        stack.push_async_callback(truths.aclose)
        progress = stack.enter_context(Progress("keys", sys.stderr))
        comparison = Comparison(
            rules,
            store.home,
            truths,
            per_second=args.per_second,
            only=args.rule,
            observe=lambda looked: progress.show(looked, len(args.key)),
        )
        if not comparison.has_rules:
            raise UsageError("no rule has verify: url: or verify: sql:, which knows the truth")
        if args.key:
            return await comparison.compare_keys(args.key)
        return await comparison.compare_families()


def _check_names(wanted: list[str], rules: RuleSet) -> None:
    known = [rule.name for rule in rules.rules]
    for name in wanted:
        if name not in known:
            raise UsageError(f"no rule is called {name}{nearest(name, known)}")


def _lines(report: Report) -> Iterator[str]:
    yield (
        f"{plural(report.keys, 'key')} in {report.seconds:,.1f} s: {report.says}; "
        f"{report.absent:,} absent, {report.unreadable:,} unreadable, "
        f"{report.unavailable:,} without an answer"
    )
    for finding in report.findings:
        ttl = "no TTL" if finding.ttl is None else f"{finding.ttl:,.0f} s to live"
        yield f"stale  {finding.key}  rule {finding.rule}, holds {finding.digest}, {ttl}"
        yield f"  {finding.why}"
    if report.stale > len(report.findings):
        yield f"and {report.stale - len(report.findings):,} more"
    for key, why in report.not_compared.items():
        yield f"not compared  {key}: {why}"
