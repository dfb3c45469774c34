"""A plan in the making: the sets that names are added to."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct, field

from invalidator.model import Kind, Names, Note, Plan, Slice

LISTED: Final = -3  # the sink that counts the names of a list
NOTE: Final = -2  # the sink that takes notes about rules
UNMATCHED: Final = -1  # the sink that counts events that no rule names

Sink = Callable[..., object]
AROUND: Final = 100  # bytes that a name takes in memory besides its letters
Lane = tuple[str, Kind, float | None]  # a cache, a kind, and the delay of a second pass


class Draft(Struct):
    """A plan in the making, with the sinks that fill it."""

    plan: Plan
    sinks: list[Sink] = field(default_factory=list)
    unmatched: list[int] = field(default_factory=list)
    noted: dict[tuple[str, str], int] = field(default_factory=dict)  # of this slice's last event
    room: float = float("inf")  # bytes that names from lists may still take, about
    deadline: float = float("inf")  # no event is planned after it: the event loop has to run
    following: list[bytes | None] = field(default_factory=list)  # the events being planned
    stopped: int | None = None  # the first event that is not planned
    listed: Slice | None = None  # the events of that one, which is a list

    @classmethod
    def of(cls, lanes: Sequence[Lane], room: float, seconds: float) -> "Draft":
        draft = cls(Plan(), room=room, deadline=time.monotonic() + seconds)
        draft.sinks = [getattr(draft.names(cache, delay), kind).add for cache, kind, delay in lanes]
        draft.sinks += [draft.count, draft.note, draft.unmatched.append]
        return draft

    def count(self, names: Sequence[str], index: int) -> None:
        """Count the names that an event gave: a small one may give very many."""
        self.room -= sum(map(len, names)) + AROUND * len(names)
        self.planned(index)

    def planned(self, index: int) -> None:
        """Stop after this event if there is no more room or time."""
        if self.stopped is None and (self.room < 0 or time.monotonic() > self.deadline):
            self._stop(index + 1)

    def open_list(self, index: int, events: Slice) -> None:
        """Stop before a record that is a list of events, which are planned as a slice."""
        self.listed = events
        self._stop(index)

    def take_list(self) -> Slice | None:
        """Return the events of the list before which planning stopped, so that it goes on."""
        events, self.listed = self.listed, None
        if events is not None:
            self.stopped = None
        return events

    def _stop(self, at: int) -> None:
        self.stopped = at
        self.following.clear()  # whoever iterates over them ends

    def names(self, cache: str, delay: float | None = None) -> Names:
        plan = self.plan
        caches = plan.caches if delay is None else plan.repeats.setdefault(delay, {})
        return caches.setdefault(cache, Names())

    def end_slice(self, origin: str) -> None:
        """Count the events of a slice that no rule names."""
        self.noted.clear()
        plan = self.plan
        if more := len(self.unmatched) - plan.unmatched:
            plan.unmatched += more
            plan.unmatched_of[origin] = plan.unmatched_of.get(origin, 0) + more

    def finished(self) -> Plan:
        """Return the plan without empty caches and second passes, which would be waited for."""
        plan = self.plan
        plan.caches = _named(plan.caches)
        passes = {delay: _named(caches) for delay, caches in plan.repeats.items()}
        plan.repeats = {delay: caches for delay, caches in passes.items() if caches}
        self.sinks.clear()  # methods of the draft among them: a cycle would keep the plan alive
        return plan

    def note(self, about: tuple[str, str, str], index: int) -> None:
        """Count a note about an event once, though each path that it takes notes it again."""
        rule, word, message = about
        if self.noted.get((rule, word)) != index:
            self.noted[rule, word] = index
            known = self.plan.notes.setdefault((rule, word), Note(0, message))
            known.count += 1


def _named(caches: dict[str, Names]) -> dict[str, Names]:
    return {cache: names for cache, names in caches.items() if names.count()}


def pour(
    row: tuple[Any, ...], lanes: tuple[tuple[int, ...], ...], sinks: list[Sink], index: int
) -> None:
    """Add one rendering of a rule to the sinks of its effects."""
    for names, targets in zip(row, lanes, strict=True):
        if type(names) is list:
            sinks[LISTED](names, index)
        for target in targets if names is not None else ():
            if type(names) is list:
                for name in names:
                    sinks[target](name)
            else:
                sinks[target](names)
