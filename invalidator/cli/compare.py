"""Compare what two rule sets would do to the same events."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import asdict

from invalidator.cli.columns import painted, table, wrapped
from invalidator.cli.common import plural
from invalidator.cli.what_if import UNREAD
from invalidator.model import Record
from invalidator.rules import Explanation, RuleSet
from invalidator.runtime.terminal import Colour
from invalidator.runtime.text import visible

EXAMPLES: Final = 3  # names of each type and sign

Names = dict[tuple[str, str, str], str]  # cache, kind and name; the rule that gives it


class Difference(Struct):
    """Tells how two rule sets differ for one event type."""

    events: int = 0
    changed: int = 0
    more: int = 0  # names
    fewer: int = 0
    rejected: int = 0  # events that only the new rules reject
    accepted: int = 0  # events that only the old rules reject
    examples: dict[str, None] = field(default_factory=dict)

    def add(self, old: Explanation, new: Explanation) -> None:
        self.events += 1
        before, after = _names(old), _names(new)
        more, fewer = after.keys() - before.keys(), before.keys() - after.keys()
        self.more += len(more)
        self.fewer += len(fewer)
        was, now = _rejects(old), _rejects(new)
        self.rejected += now and not was
        self.accepted += was and not now
        self.changed += bool(more or fewer or was != now)
        for sign, names, rules in (("+", more, after), ("-", fewer, before)):
            shown = sum(example.startswith(sign) for example in self.examples)
            for entry in sorted(names)[: EXAMPLES - shown]:
                _, kind, name = entry
                self.examples[f"{sign} {kind:8} {visible(name)}  by {rules[entry]}"] = None


class Comparison:
    """The differences between two rule sets, by event type."""

    def __init__(self, old: RuleSet, new: RuleSet) -> None:
        self.old = old
        self.new = new
        self.types: dict[str, Difference] = {}

    def add(self, record: Record, new: Explanation) -> None:
        old = self.old.explain(record, only_matching=True)
        event = new.event or old.event
        kind = event.type if event else UNREAD
        self.types.setdefault(kind, Difference()).add(old, new)

    @property
    def changed(self) -> Mapping[str, Difference]:
        return {kind: found for kind, found in sorted(self.types.items()) if found.changed}

    def plain(self) -> dict[str, Any]:
        return {
            "old": self.old.hash,
            "new": self.new.hash,
            "types": [
                {"type": kind, **asdict(found), "examples": list(found.examples)}
                for kind, found in sorted(self.types.items())
            ],
        }


def differences(found: Comparison) -> Iterator[str]:
    """Yield the comparison as text."""
    events = sum(difference.events for difference in found.types.values())
    if not found.changed:
        yield f"no difference: both rule sets do the same for {plural(events, 'event')}"
        return
    rows = [
        [
            visible(kind, 60),
            f"{each.events:,}",
            f"{each.changed:,}",
            _counted(each.more, "green"),
            _counted(each.fewer, "yellow"),
            _counted(each.rejected, "red"),
            _counted(each.accepted, "green"),
        ]
        for kind, each in found.changed.items()
    ]
    head = ["TYPE", "EVENTS", "CHANGED", "NAMES +", "NAMES -", "REJECTED +", "REJECTED -"]
    yield from table(rows, head=head, wraps=0)
    for kind, each in found.changed.items():
        yield from ("", visible(kind, 60))
        for example in each.examples:
            colour: Colour = "green" if example.startswith("+") else "yellow"
            for line in wrapped(example, indent="    ", first="  "):
                yield painted(line, colour)


def _counted(count: int, colour: Colour) -> str:
    return painted(f"{count:,}", colour) if count else ""


def _names(told: Explanation) -> Names:
    return {
        (name.cache, name.kind, name.name): verdict.rule
        for verdict in told.verdicts
        for name in verdict.names
    }


def _rejects(told: Explanation) -> bool:
    return told.fault is not None or any(verdict.fault for verdict in told.verdicts)
