"""The slow path: one rule for one event, with exact reasons where it is rejected."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from invalidator.errors import Rejected
from invalidator.model import Fault, Slice
from invalidator.rules.condition import ConditionError, reads
from invalidator.rules.envelope import EVERY, Reading
from invalidator.rules.explain.explain import Yield
from invalidator.rules.explain.missing import hint
from invalidator.rules.plan.compile import (
    Decide,
    Failed,
    Render,
    Unit,
    compile_condition,
    compile_rendering,
)
from invalidator.rules.rule import Effect, Rule

ROWS: Final = ("data", "before", "after")  # roots that hold columns of a change event


class Ruling(Struct, frozen=True):
    """The outcome of a rule for an event whose type it matches."""

    applies: bool
    names: tuple[Yield, ...] = ()
    fault: Fault | None = None
    noted: tuple[tuple[str, str], ...] = ()  # a stable word and a message each


class SingleRule:
    """One rule, compiled alone."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self._decide: Decide | None = compile_condition(unit)
        self._render: Render = compile_rendering(unit)
        self._lenient: Render = compile_rendering(unit, lenient=True)
        self._columns = _columns(unit.rule)  # that names are made of
        self._read = _read_columns(unit.rule)  # that the condition reads
        self._required = tuple(
            not any(slot.optional for slot in effect.template.slots())
            for effect in unit.rule.effects
        )

    def rule(self, reading: Reading, part: Slice, index: int) -> Ruling:
        noted: list[tuple[str, str]] = []
        try:
            if not self._applies(reading, part, index, noted):
                return Ruling(False, noted=tuple(noted))
            names = self._names(reading, part, index)
        except MemoryError:
            raise
        except Rejected as error:
            return self._rejected(_fault(error, self.unit.rule.name, reading), noted)
        except Exception as error:  # noqa: BLE001 - a gap in our checks: this event's fault
            said = f"the rule failed: {type(error).__name__}: {error}"
            return self._rejected(Fault("rule-failed", said, self.unit.rule.name), noted)
        return Ruling(True, names, noted=tuple(noted))

    def _applies(
        self, reading: Reading, part: Slice, index: int, noted: list[tuple[str, str]]
    ) -> bool:
        """Return whether the condition holds; for a change event, for either row."""
        if self._decide is None:
            return True
        failed: ConditionError | None = None
        for image in reading.images or (reading.data,):
            try:
                if self._decide(image, reading.event, reading.kind, part, index):
                    return True
            except ConditionError as error:
                failed = error
        if failed is None:
            lacking = _lacking(reading, self._read)
            if not lacking:
                return False
            failed = ConditionError(lacking[1])  # an unknown value is no reason not to apply
        failure = Failed(self.unit.rule)
        answer = failure(failed, lambda note, _: noted.append(note[1:]), index)
        if answer is None:
            raise failure.rejected(failed)
        return answer

    def _names(self, reading: Reading, part: Slice, index: int) -> tuple[Yield, ...]:
        rule = self.unit.rule
        place = (reading.event, reading.kind, part, index)
        if not reading.images:
            return tuple(_named(rule, self._render(reading.data, *place)))
        for effect in rule.effects:
            if lacking := _lacking(reading, _top(effect)):
                error, said = lacking
                raise Rejected(said, error=error, what=effect.template.text)
        made = self.rows(reading, part, index)
        if made is None:
            # No row has the value: strict rendering says which one is missing.
            return tuple(_named(rule, self._render(reading.images[0], *place)))
        return tuple(dict.fromkeys(name for row in made for name in _named(rule, row)))

    def change(self, reading: Reading, part: Slice, index: int) -> Sequence[tuple[Any, ...]] | None:
        """Return the names of a change event, row by row; None where `rule` must say more."""
        if reading.unknown and _lacking(reading, self._columns | self._read):
            return None
        decide, place = self._decide, (reading.event, reading.kind, part, index)
        if decide is not None and not any(decide(row, *place) for row in reading.images):
            return ()
        return self.rows(reading, part, index)

    def rows(self, reading: Reading, part: Slice, index: int) -> list[tuple[Any, ...]] | None:
        """Return the names by row; None if a required value is in no row."""
        render, event, kind = self._lenient, reading.event, reading.kind
        made = [render(image, event, kind, part, index) for image in reading.images]
        if None not in made[0]:
            return made  # the most common case: everything is in the first row
        lacks = (
            required and all(names is None for names in rows)
            for required, *rows in zip(self._required, *made, strict=True)
        )
        return None if any(lacks) else made

    def _rejected(self, fault: Fault, noted: Sequence[tuple[str, str]]) -> Ruling:
        rule = self.unit.rule
        if not rule.on_reject:
            return Ruling(True, fault=fault, noted=tuple(noted))
        names = tuple(
            Yield(rule.cache, effect.kind, _fixed(self.unit, effect), effect.template.text)
            for effect in rule.on_reject
        )
        return Ruling(True, names, noted=(*noted, ("on-reject", f"{fault.error}: {fault.what}")))


def _fault(error: Rejected, rule: str, reading: Reading) -> Fault:
    """Return the fault; of a missing field also what the event has instead."""
    fault = fault_of(error, rule)
    said = hint(*error.path, reading) if error.path else ""
    return replace(fault, message=f"{fault.message}; {said}") if said else fault


def fault_of(error: Rejected, rule: str | None = None) -> Fault:
    return Fault(error.error, str(error), rule, error.what)


def _fixed(unit: Unit, effect: Effect) -> str:
    """Return the name of a template without fields."""
    prefix = unit.cache.prefix if effect.kind == "keys" else ""
    return prefix + "".join(str(part) for part in effect.template.parts)


Columns = frozenset[tuple[str, str]]  # each with the root that it is read by


def _columns(rule: Rule) -> Columns:
    return frozenset(column for effect in rule.effects for column in _top(effect))


def _top(effect: Effect) -> Columns:
    return frozenset(
        (path.root, str(path.steps[0]))
        for path in effect.template.paths()
        if path.root in ROWS and path.steps
    )


def _read_columns(rule: Rule) -> Columns:
    """Return the columns that a condition reads, those of changed() excepted.

    That a large column was not sent tells changed() that it did not change.
    """
    found = reads(rule.when.tree, changes=False) if rule.when else ()
    return frozenset(
        (read.root, read.path[0] if read.path else EVERY) for read in found if read.root in ROWS
    )


def _lacking(reading: Reading, columns: Columns) -> tuple[str, str] | None:
    """Return the error and the reason for the first of these columns that was not sent."""
    unknown = reading.unknown
    for root, column in columns if unknown else ():
        if column == EVERY:
            return next(iter(unknown.values()))
        found = unknown.get(column)
        if found is None and column not in reading.data:
            found = unknown.get(EVERY)
        if found and (root != "after" or found[0] == "no-value"):
            return found
    return None


def _named(rule: Rule, made: tuple[Any, ...]) -> Iterator[Yield]:
    for effect, names in zip(rule.effects, made, strict=True):
        for name in names if isinstance(names, list) else (names,):
            if name is not None:
                yield Yield(rule.cache, effect.kind, name, effect.template.text)
