"""`invalidator audit`: what is wrong in the Redis servers that hold caches. Reads only."""

import argparse
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from invalidator.cli.common import Verbs, rules_path
from invalidator.runtime.terminal import Progress, paint
from invalidator.runtime.units import show_rough_size

if TYPE_CHECKING:
    from invalidator.cli.audit.expected import Wanted
    from invalidator.cli.audit.facts import Facts
    from invalidator.cli.audit.findings import Finding, Report
    from invalidator.rules import RuleSet
    from invalidator.settings import Settings

_SHOWN = 10  # families of one kind
_WIDTH = 96

_EPILOG = """\
examples:
  invalidator audit                               every Redis that the settings name a cache on
  invalidator audit --speed 0.05                  slower: it takes a twentieth of the server's time
  invalidator audit --json | jq '.servers[].findings[] | select(.kind == "unreached")'
  invalidator audit --strict --only unreached     in CI, against a copy of production

What it finds:
  eviction            a policy that may evict versions, tags, streams or dead letters
  tag-expires-first   a tag set whose time is over before that of what it names
  unreached           families of keys (ids are *) that no rule can make stale
  no-ttl              keys that never expire
  big                 keys over 1 MiB

It walks all keys with SCAN and asks for each how long it lives and how large it is; it reads no
value and writes nothing. docs/redis-contract.md has the permissions that it needs.

exit codes: 0 done, 1 a server cannot be reached or, with --strict, something was found; 2 the
settings or the rules cannot be used
"""


def add(verbs: Verbs) -> None:
    from invalidator.cli.audit.kinds import KINDS

    parser = verbs.add_parser(
        "audit",
        help="look for what is wrong in the caches; reads only",
        description="Walks all keys of the caches' Redis servers, slowly, and says what will go "
        "wrong there: each\nwith a count, a sample and what to do.",
        epilog=_EPILOG,
    )
    parser.add_argument("--rules", metavar="PATH", help="rules file or directory")
    parser.add_argument(
        "--only", choices=KINDS, action="append", default=[], help="only this; repeatable"
    )
    parser.add_argument(
        "--speed",
        metavar="SHARE",
        type=_share,
        default=0.25,
        help="the share of the server's time that it may take, up to 1; default: 0.25",
    )
    parser.add_argument("--all", action="store_true", help=f"show more than {_SHOWN} families")
    parser.add_argument("--strict", action="store_true", help="exit 1 if something was found")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.set_defaults(run=run)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and up to 1, found {text!r}")
    return share


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.rules import load as load_rules
    from invalidator.settings import load

    settings = load(args.env_file)
    ruleset = load_rules(rules_path(args.rules))
    only = tuple(args.only)
    reports = [
        asyncio.run(_audited(settings, url, wanted, args.speed, only))
        for url, wanted in _servers(settings, ruleset).items()
    ]
    if args.json:
        _print_json(reports)
    else:
        print("\n\n".join("\n".join(_lines(entry, all=args.all)) for entry in reports))
    return int(args.strict and any(entry.findings for entry in reports))


def _servers(settings: "Settings", ruleset: "RuleSet") -> "dict[str, Wanted]":
    """Each server that has a cache, and what is expected there."""
    from invalidator.cli.audit.expected import Wanted
    from invalidator.settings.caches import cache_urls, env_spelling

    main, own = settings.redis_url.get_secret_value(), cache_urls(settings)
    homes: dict[str, list[str]] = {}
    for name in ruleset.caches:
        homes.setdefault(own.get(env_spelling(name), main), []).append(name)
    source, state = settings.source_redis_url, settings.state_url
    return {
        url: Wanted.of(
            ruleset,
            caches,
            streams=settings.streams.keys if url == source.get_secret_value() else (),
            letters=url == state.get_secret_value(),
        )
        for url, caches in homes.items()
    }


async def _audited(
    settings: "Settings", url: str, wanted: "Wanted", speed: float, only: Collection[str]
) -> "Report":
    from invalidator.cli.audit.findings import report
    from invalidator.cli.audit.walk import audited
    from invalidator.redisclient import client
    from invalidator.runtime.urls import redact
    from invalidator.targets.redis.sweep import Pace

    tls = settings.redis_tls.options()
    async with client(url, settings.redis_timeout, tls) as redis:
        with Progress("keys", sys.stderr) as progress:
            found = await audited(
                redis, redact(url), wanted, pace=Pace(share=speed), observe=progress.show
            )
    return report(found, wanted, only)


def _print_json(reports: "Sequence[Report]") -> None:
    import json

    from msgspec import to_builtins

    def plain(entry: "Report") -> dict[str, Any]:
        made: dict[str, Any] = to_builtins(entry)
        made["facts"]["hit_rate"] = entry.facts.hit_rate
        return made

    print(json.dumps({"servers": [plain(entry) for entry in reports]}, indent=2))


def _lines(entry: "Report", *, all: bool) -> list[str]:  # noqa: A002 - as the option is called
    facts = entry.facts
    lines = [paint(entry.server, "bold", sys.stdout)]
    lines += [f"  {line}" for line in _about(entry, facts)]
    kinds = dict.fromkeys(finding.kind for finding in entry.findings)
    for kind in kinds:
        lines += ["", *_of_kind(kind, [f for f in entry.findings if f.kind == kind], all=all)]
        if kind == "unreached" and entry.unseen:
            lines += _wrapped(
                f"Rules that raise versions or drop stamps may reach some of them, which no name "
                f"shows: {', '.join(entry.unseen)}."
            )
    return lines if kinds else [*lines, "", "  nothing found"]


def _about(entry: "Report", facts: "Facts") -> list[str]:
    limit = f"of {show_rough_size(facts.limit)}" if facts.limit else "without a limit"
    rate = "no reads yet" if facts.hit_rate is None else f"hit rate {facts.hit_rate:.1%}"
    unread = f", {entry.unread:,} of them may not be asked about" if entry.unread else ""
    return [
        f"about {entry.looked:,} keys looked at in {entry.seconds:,.1f} s{unread}; "
        f"{entry.spared:,} are no cache entries",
        f"memory {show_rough_size(facts.used)} {limit}, at most {show_rough_size(facts.peak)}; "
        f"when full: {', '.join(facts.policies)}",
        f"{rate}: {facts.hits:,} hits, {facts.misses:,} misses, {facts.evicted:,} evicted, "
        f"{facts.expired:,} expired since the start",
    ]


def _of_kind(kind: str, findings: "Sequence[Finding]", *, all: bool) -> list[str]:  # noqa: A002
    from invalidator.cli.audit.kinds import MEANINGS
    from invalidator.runtime.text import visible

    total = sum(finding.count for finding in findings)
    head = "" if kind == "eviction" else f": {total:,} in {_families(len(findings))}"
    lines = [f"  {paint(kind, 'yellow', sys.stdout)}  {MEANINGS[kind]}{head}"]
    shown = findings if all else findings[:_SHOWN]
    width = min(48, max(len(visible(finding.what)) for finding in shown))
    for finding in shown:
        what, sample = visible(finding.what), visible(finding.sample)
        such_as = sample if kind in ("eviction", "tag-expires-first") else f"such as {sample}"
        count = "" if kind == "eviction" else f"{finding.count:>11,}"
        lines.append(f"    {what:{width}} {count}  {such_as}")
    if len(shown) < len(findings):
        lines.append(f"    and {_families(len(findings) - len(shown))} more: --all shows them")
    return [*lines, *_wrapped(findings[0].advice)]


def _families(count: int) -> str:
    return "1 family" if count == 1 else f"{count:,} families"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="    > ", subsequent_indent="      ")
