"""What rules say about one record, for people."""

from dataclasses import asdict, dataclass
from typing import Any

from invalidator.model import Event, Fault, Kind, Record


@dataclass(frozen=True, slots=True)
class Yield:
    """One name that a rule gives for an event."""

    cache: str
    kind: Kind
    name: str
    template: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule said about one event."""

    rule: str
    matched: bool
    why: str  # why it did, or did not
    names: tuple[Yield, ...] = ()
    fault: Fault | None = None  # why it gives none of its own names
    note: str = ""  # what an operator should know though no event is lost by it


@dataclass(frozen=True, slots=True)
class Explanation:
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
            "fault": asdict(self.fault) if self.fault else None,
            "rules": [asdict(verdict) for verdict in self.verdicts],
        }
