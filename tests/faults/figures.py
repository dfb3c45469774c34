"""The result of a row, and the table of all rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

NOTHING = "-"
HEAD = (
    "row",
    "what breaks, and how it heals",
    "events",
    "lost",
    "stale",
    "repeated",
    "dead letters",
    "recovered after s",
    "longest await s",
    "leaked",
    "grown MB",
    "result",
)


@dataclass
class Figures:
    """`failed` says why the row did not hold; empty where it did."""

    number: int
    fault: str
    events: int = 0
    lost: int = 0
    stale: int = 0
    repeated: int = 0  # events that were planned more than once
    dead: int = 0
    poisoned: int = 0  # events that belong into the dead letters
    recovered: float | None = None
    longest: float = 0.0
    leaked: tuple[int, int] | None = None  # tasks and descriptors, where a daemon lived through
    grown: float | None = None
    failed: list[str] = field(default_factory=list)
    impossible: str = ""  # why it cannot run here

    def cells(self) -> Sequence[str]:
        if self.impossible:
            nothing = [NOTHING] * (len(HEAD) - 3)
            return [str(self.number), self.fault, *nothing, f"not run: {self.impossible}"]
        return [
            str(self.number),
            self.fault,
            f"{self.events:,}",
            str(self.lost),
            str(self.stale),
            str(self.repeated),
            f"{self.dead} of {self.poisoned}" if self.poisoned else str(self.dead),
            NOTHING if self.recovered is None else f"{self.recovered:.1f}",
            f"{self.longest:.2f}",
            NOTHING if self.leaked is None else str(sum(self.leaked)),
            NOTHING if self.grown is None else f"{self.grown:.1f}",
            "**failed**: " + "; ".join(self.failed) if self.failed else "holds",
        ]


def table(rows: Sequence[Figures]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *(figures.cells() for figures in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
