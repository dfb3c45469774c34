"""What rules say about one record, for people."""

from typing import Any

from msgspec import Struct, to_builtins

from invalidator.model import Event, Fault, Kind, Record


class Yield(Struct, frozen=True):
    """One name that a rule gives for an event."""

    cache: str
    kind: Kind
    name: str
    template: str


class Verdict(Struct, frozen=True):
    """What one rule said about one event."""

    rule: str
    matched: bool
    why: str  # why it did, or did not
    names: tuple[Yield, ...] = ()
    fault: Fault | None = None  # why it gives none of its own names
    note: str = ""  # what an operator should know though no event is lost by it


class Explanation(Struct, frozen=True):
    """What the rules say about one record."""

    record: Record
    event: Event | None  # None: it could not be read, or is a tombstone
    verdicts: tuple[Verdict, ...]  # one per rule
    fault: Fault | None = None  # why it could not be read

    @property
    def names(self) -> tuple[Yield, ...]:
        return tuple(name for verdict in self.verdicts for name in verdict.names)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "type": self.event.type if self.event else None,
            "fault": to_builtins(self.fault),
            "rules": to_builtins(self.verdicts),
        }
