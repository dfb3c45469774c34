"""Count what rules would do to events, by type and rule."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct, field

from invalidator.cli.columns import painted, table, wrapped
from invalidator.model import KINDS, Fault, Record
from invalidator.rules import Explanation, RuleSet, Yield
from invalidator.rules.explain.near_miss import near_miss
from invalidator.runtime.text import visible

MOST_KEYS: Final = 1000  # that are looked up by --live
MOST_REASONS: Final = 1000  # that are counted apart
MOST_SHOWN: Final = 20  # reasons, types without a rule
NO_RULE: Final = "-"
UNREAD: Final = "(unreadable)"


class Row(Struct):
    """One event type and one rule."""

    events: int = 0
    names: Counter[str] = field(default_factory=Counter)  # by kind
    rejected: int = 0


class Outcome:
    """Counts what a rule set does to events."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.events = 0
        self.rows: dict[tuple[str, str], Row] = {}
        self.reasons: Counter[tuple[str, str, str, str]] = Counter()  # type, rule, error, message
        self.keys: dict[tuple[str, str], None] = {}  # some, by cache

    def add(self, record: Record, refused: Fault | None = None) -> Explanation:
        """Count one event, and return what the rules make of it."""
        told = self.rules.explain(record, only_matching=True)
        self.events += 1
        fault = refused or told.fault
        kind = told.event.type if told.event and not fault else UNREAD
        if fault:
            row = self._row(kind, NO_RULE)
            row.events += 1
            row.rejected += 1
            self._reject(kind, fault)
        matched = [verdict for verdict in told.verdicts if verdict.matched] if not fault else []
        for verdict in matched:
            row = self._row(kind, verdict.rule)
            row.events += 1
            row.names.update(name.kind for name in verdict.names)
            for name in verdict.names:
                if name.kind == "keys" and len(self.keys) < MOST_KEYS:
                    self.keys[name.cache, name.name] = None
            if verdict.fault:
                row.rejected += 1
                self._reject(kind, verdict.fault)
        if told.event and not matched and not fault:
            self._row(kind, NO_RULE).events += 1
        return told

    def _row(self, kind: str, rule: str) -> Row:
        return self.rows.setdefault((kind, rule), Row())

    def _reject(self, kind: str, fault: Fault) -> None:
        reason = kind, fault.rule or NO_RULE, fault.error, fault.message
        if reason not in self.reasons and len(self.reasons) >= MOST_REASONS:  # they quote values
            reason = *reason[:3], "and others"
        self.reasons[reason] += 1

    @property
    def unmatched(self) -> list[tuple[str, int, str]]:
        """Return the types that no rule matches, how often they came, and the near miss."""
        found = [
            (kind, row.events, near_miss(kind, self.rules.rules))
            for (kind, rule), row in self.rows.items()
            if rule == NO_RULE and kind != UNREAD
        ]
        return sorted(found, key=lambda entry: -entry[1])

    @property
    def idle(self) -> list[str]:
        """Return the rules that no event matched."""
        used = {rule for _, rule in self.rows}
        return [rule.name for rule in self.rules.rules if rule.enabled and rule.name not in used]

    def plain(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "rules_hash": self.rules.hash,
            "by_type": [
                {
                    "type": kind,
                    "rule": None if rule == NO_RULE else rule,
                    "events": row.events,
                    "names": {kind: row.names[kind] for kind in KINDS},
                    "rejected": row.rejected,
                }
                for (kind, rule), row in sorted(self.rows.items())
            ],
            "rejected": [
                {"type": kind, "rule": rule, "error": error, "reason": reason, "events": count}
                for (kind, rule, error, reason), count in self.reasons.most_common()
            ],
            "unmatched": [
                {"type": kind, "events": count, "near_miss": near or None}
                for kind, count, near in self.unmatched
            ],
            "rules_without_events": self.idle,
        }


def lines(outcome: Outcome, there: tuple[int, int] | None = None) -> Iterator[str]:
    """Yield the outcome as text; `there` is how many of some keys exist, and of how many."""
    if not outcome.rows:
        return
    kinds = [kind for kind in KINDS if any(row.names[kind] for row in outcome.rows.values())]
    rows = [
        [
            visible(kind, 60),
            visible(rule, 60),
            f"{row.events:,}",
            *(f"{row.names[kind]:,}" if row.names[kind] else "" for kind in kinds),
            painted(f"{row.rejected:,}", "red") if row.rejected else "",
        ]
        for (kind, rule), row in sorted(outcome.rows.items())
    ]
    head = ["TYPE", "RULE", "EVENTS", *map(str.upper, kinds), "REJECTED"]
    yield from table(rows, head=head, wraps=0)
    if there:
        yield f"{there[0]:,} of {there[1]:,} keys that were looked up exist"
    if outcome.reasons:
        yield from ("", painted("rejected", "red"))
        reasons = outcome.reasons.most_common(MOST_SHOWN)
        for (kind, rule, error, reason), count in reasons:
            who = kind if rule == NO_RULE else f"{kind} by {rule}"
            said = visible(f"{count:,} {who}: {error}: {reason}", 400)
            yield from wrapped(said, indent="    ", first="  ")
    unmatched = outcome.unmatched
    if unmatched:
        yield from ("", "no rule matches")
        for kind, count, near in unmatched[:MOST_SHOWN]:
            said = visible(f"{count:,} {kind}{f': {near}' if near else ''}", 400)
            yield from wrapped(said, indent="    ", first="  ")
    if outcome.idle:
        yield ""
        yield from wrapped(
            f"no event for the rules {', '.join(outcome.idle)}", indent="  ", first=""
        )


def names_of(outcome: Outcome) -> Sequence[Yield]:
    """Return some keys that the events name, for a lookup."""
    return [Yield(cache, "keys", name, "") for cache, name in outcome.keys]
