"""A plan in the making: the sets that names are added to."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, field

from invalidator.model import Kind, Names, Note, Plan

Sink = Callable[..., object]
Lane = tuple[str, Kind, float | None]  # a cache, a kind, and the delay of a second pass


class Draft(Struct):
    """A plan in the making, with the sinks that fill it."""

    plan: Plan
    sinks: list[Sink] = field(default_factory=list)
    unmatched: list[int] = field(default_factory=list)
    noted: dict[tuple[str, str], int] = field(default_factory=dict)  # of this slice's last event

    @classmethod
    def of(cls, lanes: Sequence[Lane]) -> "Draft":
        draft = cls(Plan())
        draft.sinks = [getattr(draft.names(cache, delay), kind).add for cache, kind, delay in lanes]
        draft.sinks += [draft.note, draft.unmatched.append]
        return draft

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


def pour(row: tuple[Any, ...], lanes: tuple[tuple[int, ...], ...], sinks: list[Sink]) -> None:
    """Add one rendering of a rule to the sinks of its effects."""
    for names, targets in zip(row, lanes, strict=True):
        for target in targets if names is not None else ():
            if type(names) is list:
                for name in names:
                    sinks[target](name)
            else:
                sinks[target](names)
