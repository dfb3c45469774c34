"""What an audit found, for people and machines: each with a count, a sample and what to do."""

from collections.abc import Collection, Iterator

from msgspec import Struct

from invalidator.cli.audit.expected import Wanted
from invalidator.cli.audit.facts import Facts
from invalidator.cli.audit.families import Tally
from invalidator.cli.audit.kinds import ADVICE
from invalidator.cli.audit.walk import BIG, Audited


class Finding(Struct, frozen=True):
    kind: str  # one of ADVICE
    what: str  # the family; or what is set wrongly
    count: int  # keys
    sample: str
    advice: str


class Report(Struct, frozen=True):
    """Of one server, or one cluster."""

    server: str
    facts: Facts
    looked: int  # keys
    spared: int
    unread: int
    seconds: float
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...]  # rules that may reach entries which count as unreached


def report(found: Audited, wanted: Wanted, only: Collection[str] = ()) -> Report:
    """`only`: of these kinds; of all where there is none."""
    tallies = list(found.families.each())
    findings = [*_eviction(found.facts, wanted)]
    for kind, counted in (
        ("tag-expires-first", "tags"),
        ("unreached", "unreached"),
        ("no-ttl", "lasting"),
        ("big", "big"),
    ):
        findings += sorted(_families(kind, counted, tallies), key=lambda each: -each.count)
    findings = [each for each in findings if not only or each.kind in only]
    return Report(
        found.name,
        found.facts,
        found.looked,
        found.spared,
        found.unread,
        found.seconds,
        tuple(findings),
        wanted.unseen if any(each.kind == "unreached" for each in findings) else (),
    )


def _eviction(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    for policy in facts.policies:
        if policy.startswith("allkeys-") and wanted.kept and facts.limit:
            what = f"{policy} may evict {', '.join(wanted.kept)}"
            sample = f"{facts.evicted:,} keys evicted so far"
            yield Finding("eviction", what, facts.evicted, sample, ADVICE["eviction"])


def _families(kind: str, counted: str, tallies: list[tuple[str, Tally]]) -> Iterator[Finding]:
    for name, tally in tallies:
        count: int = getattr(tally, counted)
        if not count or (kind == "unreached" and tally.tagged):
            continue  # what tags reach is reached
        sample = tally.samples[counted].decode("utf-8", "backslashreplace")
        if kind == "big":
            sample += f", the largest has {tally.largest / BIG:,.1f} MiB"
        yield Finding(kind, name, count, sample, ADVICE[kind])
