"""`invalidator audit`: find problems in the Redis servers that hold caches. Reads only."""

import argparse
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from invalidator.cli.audit.findings import KINDS, MEANINGS
from invalidator.cli.columns import painted, table, width, wrapped
from invalidator.cli.common import (
    Verbs,
    add_rules,
    add_settings,
    as_json,
    rules_path,
    settings_of,
)
from invalidator.runtime.terminal import Progress, paint
from invalidator.runtime.units import show_rough_size

if TYPE_CHECKING:
    from invalidator.cli.audit.expected import Expected, Facts
    from invalidator.cli.audit.findings import Finding, Report
    from invalidator.rules import RuleSet
    from invalidator.settings import Settings

_SHOWN = 10  # families of one kind
_WIDEST = 96  # columns

_EPILOG = """\
examples:
  invalidator audit                               every Redis with a cache in the settings
  invalidator audit --speed 0.05                  slower: uses a twentieth of the server's time
  invalidator audit --json | jq '.servers[].findings[] | select(.kind == "unreached")'
  invalidator audit --strict --only unreached     in CI, against a copy of production

It finds:
  eviction            a policy that may evict versions, tags, streams or dead letters
  tag-expires-first   tag sets that expire before their members
  unreached           families of keys (ids are *) that no rule can invalidate
  no-ttl              keys that never expire
  big                 keys over 1 MiB
  old-schema          entries of invalidator.cache that a newer schema replaced

It walks all keys with SCAN and asks for the time to live, the size and the first 12 bytes of each.
It writes nothing. docs/redis-contract.md lists the permissions that it needs.

exit codes: 0 done, 1 a server cannot be reached or, with --strict, something was found; 2 the
settings or the rules cannot be used
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "audit",
        help="find problems in the caches; reads only",
        description="Walks all keys of the caches' Redis servers, slowly, and reports problems, "
        "each with a count,\na sample and advice.",
        epilog=_EPILOG,
    )
    add_rules(parser)
    parser.add_argument(
        "--only",
        metavar="KIND",
        choices=KINDS,
        action="append",
        default=[],
        help="report only this; repeatable",
    )
    parser.add_argument(
        "--speed",
        metavar="SHARE",
        type=_share,
        default=0.25,
        help="the share of the server's time to use, up to 1; default: 0.25",
    )
    parser.add_argument("--all", action="store_true", help=f"show more than {_SHOWN} families")
    parser.add_argument("--strict", action="store_true", help="exit 1 if something was found")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_settings(parser)
    parser.set_defaults(run=run)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, found {text!r}")
    return share


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.rules import load as load_rules

    settings = settings_of(args)
    ruleset = load_rules(rules_path(args))
    only = tuple(args.only)
    reports = [
        asyncio.run(_audited(settings, url, expected, args.speed, only))
        for url, expected in _servers(settings, ruleset).items()
    ]
    if args.json:
        _print_json(reports)
    else:
        print("\n\n".join("\n".join(_lines(entry, all=args.all)) for entry in reports))
    return int(args.strict and any(entry.findings for entry in reports))


def _servers(settings: "Settings", ruleset: "RuleSet") -> "dict[str, Expected]":
    """Return each server with a cache, and what is expected there."""
    from invalidator.cli.audit.expected import Expected
    from invalidator.settings.caches import cache_urls, env_spelling

    main, own = settings.redis_url.get_secret_value(), cache_urls(settings)
    homes: dict[str, list[str]] = {}
    for name, cache in ruleset.caches.items():
        if cache.at_edge:
            continue
        homes.setdefault(own.get(env_spelling(name), main), []).append(name)
    source, state = settings.source_redis_url, settings.state_url
    return {
        url: Expected.of(
            ruleset,
            caches,
            streams=settings.streams.keys if url == source.get_secret_value() else (),
            letters=url == state.get_secret_value(),
        )
        for url, caches in homes.items()
    }


async def _audited(
    settings: "Settings", url: str, expected: "Expected", speed: float, only: Collection[str]
) -> "Report":
    from invalidator.cli.audit.findings import report
    from invalidator.cli.audit.walk import audited
    from invalidator.redisclient import client
    from invalidator.runtime.urls import redact
    from invalidator.targets.redis.walk import Pace

    tls = settings.redis_tls.options()
    async with client(url, settings.redis_timeout, tls) as redis:
        with Progress("keys", sys.stderr) as progress:
            found = await audited(
                redis, redact(url), expected, pace=Pace(share=speed), observe=progress.show
            )
    return report(found, expected, only)


def _print_json(reports: "Sequence[Report]") -> None:
    from msgspec import to_builtins

    def plain(entry: "Report") -> dict[str, Any]:
        made: dict[str, Any] = to_builtins(entry)
        made["facts"]["hit_rate"] = entry.facts.hit_rate
        return made

    print(as_json({"servers": [plain(entry) for entry in reports]}))


def _lines(entry: "Report", *, all: bool) -> list[str]:  # noqa: A002 - the option's name
    facts = entry.facts
    lines = [paint(entry.server, "bold", sys.stdout)]
    for line in _about(entry, facts):
        lines += wrapped(line, indent="    ", first="  ")
    kinds = dict.fromkeys(finding.kind for finding in entry.findings)
    for kind in kinds:
        lines += ["", *_of_kind(kind, [f for f in entry.findings if f.kind == kind], all=all)]
        if kind == "unreached" and entry.unseen:
            lines += _wrapped(
                f"Rules that raise versions or delete stamps may reach some of them, though names "
                f"do not show it: {', '.join(entry.unseen)}."
            )
    return lines if kinds else [*lines, "", "  nothing found"]


def _about(entry: "Report", facts: "Facts") -> list[str]:
    limit = f"of {show_rough_size(facts.limit)}" if facts.limit else "without a limit"
    rate = "no reads yet" if facts.hit_rate is None else f"hit rate {facts.hit_rate:.1%}"
    unread = f", access to {entry.unread:,} of them was denied" if entry.unread else ""
    return [
        f"about {entry.looked:,} keys examined in {entry.seconds:,.1f} s{unread}; "
        f"{entry.spared:,} are not cache entries",
        f"memory {show_rough_size(facts.used)} {limit}, peak {show_rough_size(facts.peak)}; "
        f"when full: {', '.join(facts.policies)}",
        f"{rate}: {facts.hits:,} hits, {facts.misses:,} misses, {facts.evicted:,} evicted, "
        f"{facts.expired:,} expired since the start",
    ]


def _of_kind(kind: str, findings: "Sequence[Finding]", *, all: bool) -> list[str]:  # noqa: A002
    from invalidator.runtime.text import visible

    total = sum(finding.count for finding in findings)
    head = "" if kind == "eviction" else f": {total:,} in {_families(len(findings))}"
    said = wrapped(f"{kind}  {MEANINGS[kind]}{head}", indent="    ", first="  ")
    lines = [said[0].replace(kind, painted(kind, "yellow"), 1), *said[1:]]
    shown = findings if all else findings[:_SHOWN]
    rows = []
    for finding in shown:
        what, sample = visible(finding.what), visible(finding.sample)
        such_as = sample if kind in ("eviction", "tag-expires-first") else f"such as {sample}"
        rows.append([what, "" if kind == "eviction" else f"{finding.count:,}", such_as])
    lines += table(rows, indent="    ")
    if len(shown) < len(findings):
        lines.append(f"    and {_families(len(findings) - len(shown))} more: --all shows them")
    return [*lines, *_wrapped(findings[0].advice)]


def _families(count: int) -> str:
    return "1 family" if count == 1 else f"{count:,} families"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, min(_WIDEST, width()), initial_indent="    > ", subsequent_indent="      "
    )
