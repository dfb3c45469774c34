"""The findings of an audit, each with a count, a sample and advice.

Nothing heavy is imported here: the help of the verb lists the kinds.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from invalidator.cli.audit.expected import Expected, Facts
    from invalidator.cli.audit.families import Tally
    from invalidator.cli.audit.walk import Audited

MEANINGS = {
    "eviction": "a full server may evict what must stay",
    "tag-expires-first": "tags that expire before their members",
    "unreached": "keys that no rule can invalidate",
    "no-ttl": "keys that never expire",
    "big": "keys over 1 MiB",
    "old-schema": "entries of the read side that a newer schema replaced",
}
KINDS = tuple(MEANINGS)

ADVICE = {
    "eviction": "Keep them on a server that evicts nothing (INVALIDATOR_STATE_URL for dead "
    "letters, with maxmemory-policy noeviction), or let this server evict only keys with a time "
    "to live (volatile-lru) and give every entry one.",
    "tag-expires-first": "Once such a tag has expired, no event finds its members: they stay until "
    "they expire. Only ever extend a tag's time to live: EXPIRE tag ttl NX, then EXPIRE tag ttl "
    "GT, or give it none.",
    "unreached": "No event can invalidate these. Write a rule for them, or if they are not cache "
    "entries (locks, sessions, counters), list them under protect: of their cache.",
    "no-ttl": "An entry that an event misses stays wrong for ever, and is not evicted under "
    "volatile-* policies. Give entries a time to live; list other keys under protect:.",
    "big": "One command on such a key blocks every other client of the server. Split it, or store "
    "less in it.",
    "old-schema": "Readers of the newer schema load them anew. If there are many long after a "
    "deployment, an older version of a service still runs; otherwise they expire.",
}
BIG = 1 << 20  # bytes


class Finding(Struct, frozen=True):
    kind: str  # one of ADVICE
    what: str  # the family, or the wrong setting
    count: int  # keys
    sample: str
    advice: str


class Report(Struct, frozen=True):
    """The report on one server, or one cluster."""

    server: str
    facts: "Facts"
    looked: int  # keys
    spared: int
    unread: int
    seconds: float
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...]  # rules that may reach entries which count as unreached


def report(found: "Audited", expected: "Expected", only: Collection[str] = ()) -> Report:
    """Return the findings, of all kinds or `only` of these."""
    tallies = list(found.families.each())
    findings = [*_eviction(found.facts, expected)]
    for kind, counted in (
        ("tag-expires-first", "tags"),
        ("unreached", "unreached"),
        ("no-ttl", "lasting"),
        ("big", "big"),
        ("old-schema", "outdated"),
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
        expected.unseen if any(each.kind == "unreached" for each in findings) else (),
    )


def _eviction(facts: "Facts", expected: "Expected") -> Iterator[Finding]:
    for policy in facts.policies:
        if policy.startswith("allkeys-") and expected.kept and facts.limit:
            what = f"{policy} may evict {', '.join(expected.kept)}"
            sample = f"{facts.evicted:,} keys evicted so far"
            yield Finding("eviction", what, facts.evicted, sample, ADVICE["eviction"])


def _families(kind: str, counted: str, tallies: "list[tuple[str, Tally]]") -> Iterator[Finding]:
    for name, tally in tallies:
        count: int = getattr(tally, counted)
        if not count or (kind == "unreached" and tally.tagged):
            continue  # a tag reaches it
        sample = _sample(tally, counted).decode("utf-8", "backslashreplace")
        if kind == "big":
            sample += f", the largest has {tally.largest / BIG:,.1f} MiB"
        yield Finding(kind, name, count, sample, ADVICE[kind])


def _sample(tally: "Tally", counted: str) -> bytes:
    if counted != "outdated":
        return tally.samples[counted]
    oldest, newest = min(tally.schemas), max(tally.schemas)
    return b"%s, schema %d of %d" % (tally.samples[f"schema {oldest}"], oldest, newest)
