"""Explain to people what rules do for one record, and why they do nothing."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct, to_builtins

from invalidator.model import OWN_EVENTS, Event, Fault, Kind, Record
from invalidator.rules.condition import Read, reads
from invalidator.rules.envelope import Reading
from invalidator.rules.plan.event_types import MAX_PATTERN
from invalidator.rules.rule import Condition, Rule
from invalidator.runtime.text import shown, visible

SHOWN: Final = 4  # values that a condition saw


class Yield(Struct, frozen=True):
    """One name that a rule gives for an event."""

    cache: str
    kind: Kind
    name: str
    template: str


class Verdict(Struct, frozen=True):
    """The verdict of one rule about one event."""

    rule: str
    matched: bool
    why: str  # why it matched, or did not
    names: tuple[Yield, ...] = ()
    fault: Fault | None = None  # why it gives none of its own names
    note: str = ""  # what an operator should know though no event is lost by it


class Explanation(Struct, frozen=True):
    """The verdicts of all rules about one record."""

    record: Record
    event: Event | None  # None: it could not be read, or is a tombstone
    verdicts: tuple[Verdict, ...]  # one per rule
    fault: Fault | None = None  # why it could not be read

    @property
    def names(self) -> tuple[Yield, ...]:
        return tuple(name for verdict in self.verdicts for name in verdict.names)

    def plain(self) -> dict[str, Any]:
        """Return the explanation for JSON."""
        return {
            "type": self.event.type if self.event else None,
            "fault": to_builtins(self.fault),
            "rules": to_builtins(self.verdicts),
        }


def unmatched(rule: Rule, reading: Reading, origin: str, *, meant: bool) -> str:
    """Return why a rule did not match; `meant` says whether it is for this origin."""
    if not rule.enabled:
        return "the rule is not enabled"
    if not meant:
        return f"it is for {', '.join(rule.sources)}, not for {origin or 'events of no source'}"
    wanted = " or ".join(entry.text for entry in rule.on)
    kind = visible(reading.kind, MAX_PATTERN) or "an event without a type"
    if reading.named or reading.kind in OWN_EVENTS:
        return f"{kind} matches only rules that name it, not {wanted}"
    return f"{kind} is not {wanted}"


def unfulfilled(when: Condition, reading: Reading) -> str:
    """Return why a condition does not hold, with the values that it saw."""
    saw = list(dict.fromkeys(_saw(reads(when.tree), reading)))[:SHOWN]
    return f"when: {when.text} is false" + (f": {', '.join(saw)}" if saw else "")


def _saw(found: Sequence[Read], reading: Reading) -> Iterator[str]:
    rows = {"before": [reading.event.get("before")], "after": [reading.event.get("after")]}
    rows["root"] = [reading.event]
    rows["data"] = list(reading.images or (reading.data,))
    for read in found:
        if read.path and read.root in rows:
            name = ".".join([*((read.root,) if read.root != "data" else ()), *read.path])
            values = dict.fromkeys(_at(row, read.path) for row in rows[read.root])
            yield f"{name} was {' and '.join(values)}"


def _at(value: Any, path: tuple[str, ...]) -> str:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return "missing"
        value = value[step]
    return shown(value)
