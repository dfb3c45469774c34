"""Tables of what was measured, to be pasted into a document."""

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contenders import DAEMON, OURS, Contender
from benchmarks.workload import Variant


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender on a variant."""

    contender: Contender
    variant: Variant
    events: int


@dataclass(frozen=True, slots=True)
class Run:
    """One contender's way through a topic."""

    wall: float  # seconds from its partitions assigned to the last key gone
    cpu: float  # seconds of its process, its start included
    steady: float  # the same from its partitions assigned
    memory: int  # bytes, at its peak


Runs = Mapping[Entry, Sequence[Run]]
Measure = Callable[[Entry, Run], float]

MEASURES: Mapping[str, Measure] = {
    "wall": lambda entry, run: entry.events / run.wall,
    "per CPU second": lambda entry, run: entry.events / run.cpu,
    "the same without its start": lambda entry, run: entry.events / max(run.steady, 0.01),
}
# What the daemon is to reach, as a ratio of its rate to another's in the same round.
GOALS: Mapping[tuple[str, str], float] = {
    ("b", "wall"): 1.5,
    ("c", "wall"): 50,
    ("f", "wall"): 1.2,
    ("g", "wall"): 1.2,
    ("i", "wall"): 0.85,
    ("b", "per CPU second"): 1.3,
    ("f", "per CPU second"): 2.2,
    ("g", "per CPU second"): 1.0,
}
# And on one variant to its own on another: at most so many times the cost per event.
COSTS: Mapping[str, tuple[str, float]] = {
    "condition": ("plain", 1 / 1.5),
    "debezium": ("plain", 1 / 2),
    "pattern": ("full", 0.7),
    "rules-1000": ("rules-10", 0.95),
}


def machine() -> str:
    """What the figures depend on; with other work going on they are worth little."""
    busy = os.getloadavg()[0]
    of = f"# {os.cpu_count()} cores, Python {platform.python_version()}, load before: {busy:.1f}"
    return f"{of}; the daemon is {os.path.relpath(DAEMON)}"


def line(number: int, entry: Entry, run: Run) -> str:
    """While it goes on."""
    return (
        f"# {number or 'warm-up'}: {entry.contender.name}, {entry.variant.name}: {run.wall:.2f} s, "
        f"CPU {run.cpu:.2f} s ({run.steady:.2f}), {run.memory / 1e6:.0f} MB"
    )


def show(runs: Runs) -> None:
    print("\n| | events/s | from, to | per CPU second | without its start | peak MB |")
    print("|---|---|---|---|---|---|")
    for entry, done in runs.items():
        walls, whole, steady = ([rate(entry, run) for run in done] for rate in MEASURES.values())
        print(
            f"| {_title(entry)} | {median(walls):,.0f} | {min(walls):,.0f}, {max(walls):,.0f} "
            f"| {median(whole):,.0f} | {median(steady):,.0f} "
            f"| {max(run.memory for run in done) / 1e6:.0f} |"
        )
    ratios = [*_to_others(runs), *_to_itself(runs)]
    if ratios:
        print("\n| invalidator to | | ratio | from, to | goal |")
        print("|---|---|---|---|---|")
        print("\n".join(ratios))


def _title(entry: Entry) -> str:
    fewer = "" if entry.contender.fewer == 1 else f" ({entry.events:,} events)"
    variant = "" if entry.variant.name == "plain" else f", {entry.variant.title}"
    return f"{entry.contender.letter}) {entry.contender.name}{variant}{fewer}"


def _to_others(runs: Runs) -> Iterable[str]:
    ours = {entry.variant: entry for entry in runs if entry.contender.name == OURS}
    for entry in runs:
        if entry.variant in ours and entry is not ours[entry.variant]:
            for name in MEASURES:
                goal = GOALS.get((entry.contender.letter, name))
                yield _ratio(_title(entry), name, ours[entry.variant], entry, runs, goal)


def _to_itself(runs: Runs) -> Iterable[str]:
    ours = {entry.variant.name: entry for entry in runs if entry.contender.name == OURS}
    for name, (other, goal) in COSTS.items():
        if name in ours and other in ours:
            title = f"itself: {ours[name].variant.title} to {ours[other].variant.title}"
            for measure in MEASURES:
                yield _ratio(title, measure, ours[name], ours[other], runs, goal)


def _ratio(title: str, name: str, one: Entry, other: Entry, runs: Runs, goal: float | None) -> str:
    rate = MEASURES[name]
    found = [rate(one, a) / rate(other, b) for a, b in zip(runs[one], runs[other], strict=True)]
    wanted = f"{goal:.2f}" if goal else ""
    return (
        f"| {title} | {name} | {median(found):.2f} | {min(found):.2f}, {max(found):.2f} "
        f"| {wanted} |"
    )
