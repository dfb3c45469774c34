"""A compiled rule set: the hot path from raw records to names, and the careful path beside it.

The hot path knows one function per event type and adds to sets. Whatever it raises sends that
one event down the careful path, which runs each rule by itself and says what is wrong.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import orjson

from invalidator.errors import Rejected
from invalidator.model import (
    Batch,
    Event,
    Failure,
    Fault,
    Kind,
    Names,
    Plan,
    Record,
    Rejection,
    Slice,
)
from invalidator.rules.compile import Apply, Render, Unit, applying, rendering
from invalidator.rules.matching import Hit, Tree
from invalidator.rules.schema import Cache, Rule
from invalidator.rules.words import shown

MEMO: Final = 4096  # event types remembered: hostile ones must not grow memory
MEMO_LENGTH: Final = 256  # characters of a type that is remembered

Sink = Callable[[Any], object]


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
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the rules say about one record."""

    record: Record
    event: Event | None  # None: it could not be read, or is a tombstone
    verdicts: tuple[Verdict, ...]  # one per rule
    fault: Fault | None = None  # why it could not be read


class _Table(dict[str, Apply]):
    """From an event's type to the function that holds all its rules."""

    def __init__(self, resolve: Callable[[str], Apply], fixed: Mapping[str, Apply]) -> None:
        super().__init__(fixed)
        self._resolve = resolve
        self._fixed = fixed

    def __missing__(self, kind: object) -> Apply:
        if type(kind) is not str or not kind:
            raise _no_type(kind)
        function = self._resolve(kind)
        if len(kind) <= MEMO_LENGTH:
            if len(self) >= MEMO + len(self._fixed):
                self.clear()
                self.update(self._fixed)
            self[kind] = function
        return function


@dataclass(frozen=True, slots=True)
class _Draft:
    """A plan in the making, with the sinks that fill it."""

    plan: Plan
    sinks: list[Sink]
    unmatched: list[int]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One decoded event, for the careful path."""

    kind: str
    data: dict[str, Any]
    event: dict[str, Any]


class RuleSet:
    """Rules in force. Immutable but for its memo of event types."""

    def __init__(self, rules: Sequence[Rule], caches: Mapping[str, Cache], content: str) -> None:
        self.rules = tuple(rules)
        self.caches = dict(caches)
        self.hash = content
        self._tree = Tree()
        self._lanes = list(_lanes(self.rules))
        self._units: dict[Hit, tuple[Unit, Render]] = {}
        self._functions: dict[tuple[Hit, ...], Apply] = {}
        self._plant()
        self._table = _Table(self._apply, {kind: self._apply(kind) for kind in self._literals()})

    def _plant(self) -> None:
        for at, rule in enumerate(self.rules):
            if rule.enabled:
                for number, pattern in enumerate(rule.on):
                    self._tree.add(pattern, (at, number))

    def _literals(self) -> Iterator[str]:
        """Types that rules name outright: compiled when the rules are loaded."""
        for rule in self.rules:
            yield from (pattern.text for pattern in rule.on if rule.enabled and pattern.literal)

    # The hot path

    def plan(self, batch: Batch, *, max_event_bytes: int) -> Plan:
        """What a batch asks of the caches."""
        draft = self._draft()
        for part in batch.slices:
            self._slice(part, max_event_bytes, draft)
        draft.plan.unmatched = len(draft.unmatched)
        return draft.plan

    def _draft(self) -> _Draft:
        plan = Plan({cache: Names() for cache, _ in self._lanes})
        sinks = [getattr(plan.caches[cache], kind).add for cache, kind in self._lanes]
        unmatched: list[int] = []
        return _Draft(plan, [*sinks, unmatched.append], unmatched)

    def _slice(self, part: Slice, limit: int, draft: _Draft) -> None:
        loads, table, sinks = orjson.loads, self._table, draft.sinks
        for index, raw in enumerate(part.values):
            try:
                if len(raw) > limit:  # type: ignore[arg-type]  # a tombstone raises, as it should
                    raise ValueError
                event = loads(raw)  # type: ignore[arg-type]
                kind = event["type"]
                data = event.get("data")
                if type(data) is not dict:
                    data = event
                table[kind](data, event, kind, part, index, sinks)
            except Exception:  # noqa: BLE001 - whatever it is, the careful path says it exactly
                self._careful(part, index, limit, draft)

    def _apply(self, kind: str) -> Apply:
        """The function for a type, shared by all types that match the same rules."""
        hits = self._tree.hits(kind)
        function = self._functions.get(hits)
        if function is None:
            if len(self._functions) >= MEMO:
                self._functions.clear()
            function = applying([self._unit(hit)[0] for hit in hits]) if hits else _ignore
            self._functions[hits] = function
        return function

    def _unit(self, hit: Hit) -> tuple[Unit, Render]:
        found = self._units.get(hit)
        if found is None:
            rule = self.rules[hit[0]]
            lanes = tuple(
                (self._lanes.index((rule.cache, effect.kind)),) for effect in rule.effects
            )
            unit = Unit(rule, hit[1], self.caches[rule.cache], lanes)
            found = self._units[hit] = (unit, rendering(unit))
        return found

    # The careful path

    def _careful(self, part: Slice, index: int, limit: int, draft: _Draft) -> None:
        """One event that the hot path could not finish."""
        raw = part.values[index]
        if raw is None:
            return
        try:
            reading = _read(raw, limit)
        except Rejected as error:
            rejection = Rejection(part.record(index), None, (_fault(error),))
            draft.plan.rejections.append(rejection)
            return
        faults: list[Fault] = []
        hits = self._tree.hits(reading.kind)
        for hit in hits:
            names, fault = self._run(hit, reading, part, index)
            if fault:
                faults.append(fault)
            for name in names:
                getattr(draft.plan.caches[name.cache], name.kind).add(name.name)
        if not hits:
            draft.unmatched.append(1)
        if faults:
            rejection = Rejection(part.record(index), reading.kind, tuple(faults))
            draft.plan.rejections.append(rejection)

    def _run(
        self, hit: Hit, reading: _Reading, part: Slice, index: int
    ) -> tuple[tuple[Yield, ...], Fault | None]:
        """One rule for one event: its names, or why there are none."""
        unit, render = self._unit(hit)
        rule = unit.rule
        try:
            made = render(reading.data, reading.event, reading.kind, part, index)
        except MemoryError:
            raise
        except Rejected as error:
            return (), _fault(error, rule.name)
        except Exception as error:  # noqa: BLE001 - a hole in the rules' own checks: this event's fault
            said = f"the rule failed: {type(error).__name__}: {error}"
            return (), Fault("rule-failed", said, rule.name)
        return tuple(_yields(rule, made)), None

    # For people

    def explain(self, record: Record) -> Explanation:
        """What each rule says about one record."""
        if record.raw is None:
            return Explanation(record, None, ())
        part = Slice(record.origin, [record.raw], lambda _: record)
        try:
            reading = _read(record.raw, len(record.raw))
        except Rejected as error:
            return Explanation(record, None, (), _fault(error))
        hits = dict(self._tree.hits(reading.kind))
        verdicts = tuple(
            self._verdict(at, hits.get(at), reading, part) for at in range(len(self.rules))
        )
        return Explanation(record, _event(reading, record), verdicts)

    def _verdict(self, at: int, pattern: int | None, reading: _Reading, part: Slice) -> Verdict:
        rule = self.rules[at]
        if not rule.enabled:
            return Verdict(rule.name, matched=False, why="the rule is not enabled")
        if pattern is None:
            wanted = ", ".join(entry.text for entry in rule.on)
            return Verdict(rule.name, matched=False, why=f"{reading.kind} is not {wanted}")
        names, fault = self._run((at, pattern), reading, part, 0)
        why = f"{reading.kind} is {rule.on[pattern].text}"
        return Verdict(rule.name, matched=True, why=why, names=names, fault=fault)

    def blame(self, batch: Batch, failures: Sequence[Failure]) -> list[Rejection]:
        """The events of a batch that gave names which the store can never apply."""
        wanted = {(entry.cache, entry.kind, entry.name): entry for entry in failures}
        found: list[Rejection] = []
        for record in batch.records():
            explanation = self.explain(record)
            faults = tuple(
                Fault(failure.error, failure.message, verdict.rule, name.template)
                for verdict in explanation.verdicts
                for name in verdict.names
                if (failure := wanted.get((name.cache, name.kind, name.name)))
            )
            if faults and explanation.event:
                found.append(Rejection(record, explanation.event.type, faults))
        return found


def _lanes(rules: Sequence[Rule]) -> dict[tuple[str, Kind], None]:
    """Every cache and kind that the rules use, in a fixed order."""
    return {
        (rule.cache, effect.kind): None for rule in rules if rule.enabled for effect in rule.effects
    }


def _ignore(
    data: object, event: object, kind: str, part: Slice, index: int, sinks: list[Sink]
) -> None:
    sinks[-1](1)


def _yields(rule: Rule, made: tuple[Any, ...]) -> Iterator[Yield]:
    for effect, names in zip(rule.effects, made, strict=True):
        for name in names if isinstance(names, list) else (names,):
            if name is not None:
                yield Yield(rule.cache, effect.kind, name, effect.template.text)


def _read(raw: bytes, limit: int) -> _Reading:
    if len(raw) > limit:
        said = f"the event has {len(raw)} bytes, more than {limit}"
        raise Rejected(said, error="too-large")
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Rejected(f"not JSON: {error}", error="not-json") from error
    if not isinstance(event, dict):
        said = f"the event is no object: {shown(event)}"
        raise Rejected(said, error="not-object")
    kind = event.get("type")
    if type(kind) is not str or not kind:
        _no_type(kind)
    data = event.get("data")
    return _Reading(kind, data if isinstance(data, dict) else event, event)


def _no_type(kind: object) -> NoReturn:
    said = "the event has no type" if kind is None else f"the type is no text: {shown(kind)}"
    raise Rejected(said, error="no-type")


def _event(reading: _Reading, record: Record) -> Event:
    found = reading.event.get("id")
    return Event(reading.kind, reading.data, found if isinstance(found, str) else None, record)


def _fault(error: Rejected, rule: str | None = None) -> Fault:
    return Fault(error.error, str(error), rule, error.what)
