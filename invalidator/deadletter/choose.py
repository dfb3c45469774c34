"""Which dead letters are meant."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from invalidator.deadletter.entry import Letter


@dataclass(frozen=True, slots=True)
class Filter:
    """Each that is given must fit; empty: whatever it is."""

    type: str = ""
    rule: str = ""
    error: str = ""
    source: str = ""  # the kind of source, or its topic, stream or channel

    def fits(self, letter: Letter) -> bool:
        return all(
            not (wanted := getattr(self, each.name)) or wanted in _VALUES[each.name](letter)
            for each in fields(self)
        )

    @property
    def empty(self) -> bool:
        return not any(getattr(self, each.name) for each in fields(self))


_VALUES: dict[str, Callable[[Letter], set[str | None]]] = {
    "type": lambda letter: {letter.type},
    "rule": lambda letter: {fault.rule for fault in letter.faults},
    "error": lambda letter: {fault.error for fault in letter.faults},
    "source": lambda letter: {letter.record.source, letter.record.origin},
}
