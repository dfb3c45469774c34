"""Plans raw records: the names that the rules for one origin give.

One function per event type adds names to sets. Whatever it raises sends that one event down the
slow path, which runs the rules one by one and says what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from invalidator.errors import Rejected
from invalidator.model import OWN_EVENTS, Record, Rejection, Slice
from invalidator.rules.envelope import (
    Envelope,
    Reading,
    decode,
    elements_of,
    headers_at,
    hint,
    in_binary_mode,
    unwrap,
)
from invalidator.rules.plan.compile import Apply, Unit, compile_plain, compile_update
from invalidator.rules.plan.decode import decoders_for
from invalidator.rules.plan.draft import UNMATCHED, Draft, Lane, Sink, pour
from invalidator.rules.plan.event_types import MAX_SEGMENTS, Hit, PatternTree, depth
from invalidator.rules.plan.fast_path import FastPath, Form
from invalidator.rules.plan.slow_path import Ruling, SingleRule, fault_of
from invalidator.rules.rule import Cache, Rule
from invalidator.runtime.text import shown

MEMO: Final = 4096  # event types remembered: hostile ones must not fill the memory
MEMO_LENGTH: Final = 256  # characters of a type that is remembered
CLOUD_CHANGES: Final = "io.debezium.connector."  # change events within CloudEvents: the slow path
EAGER: Final = 5000  # rules compiled ahead, counted once for each type that they match


class _Table(dict[str, Apply]):
    """Maps an event's type to the function that holds all its rules."""

    def __init__(self, resolve: Callable[[str], Apply], fixed: Mapping[str, Apply]) -> None:
        super().__init__(fixed)
        self._resolve = resolve
        self._fixed = fixed

    def __missing__(self, kind: str) -> Apply:
        if not kind or depth(kind) > MAX_SEGMENTS or kind.startswith(CLOUD_CHANGES):
            raise KeyError(kind)
        function = self._resolve(kind)
        if len(kind) <= MEMO_LENGTH:
            if len(self) >= MEMO + len(self._fixed):
                self.clear()
                self.update(self._fixed)
            self[kind] = function
        return function


class Engine:
    """Plans the events of origins that share rules and an envelope."""

    def __init__(
        self,
        rules: Sequence[Rule],
        chosen: Sequence[int],
        caches: Mapping[str, Cache],
        lanes: Sequence[Lane],
        envelope: Envelope,
    ) -> None:
        self._rules = rules
        self._caches = caches
        self._lanes = {lane: at for at, lane in enumerate(lanes)}
        self.envelope = envelope
        self._tree = PatternTree()
        self._singles: dict[Hit, SingleRule] = {}
        self._changes: dict[str, list[SingleRule]] = {}  # by the type of a change event
        self._functions: dict[tuple[Hit, ...], Apply] = {}
        for at in chosen:
            for number, pattern in enumerate(rules[at].on):
                self._tree.add(pattern, (at, number))
        self.table = _Table(self._apply, self._ready())
        self._updates = _Table(self._update, {})  # for both rows of a change event
        self._both: dict[tuple[Hit, ...], Apply] = {}
        decoders = decoders_for((rules[at] for at in chosen), envelope)
        self.fast_path = FastPath(decoders, envelope, self.table, self._updates, self._event)

    def _ready(self) -> dict[str, Apply]:
        """Compile functions for types that rules name literally, before the first event arrives."""
        made, left = {}, EAGER
        for kind in self._tree.literal:
            left -= len(self._tree.hits(kind))
            if left < 0:
                break  # many wildcards times many types: compile the rest when they arrive
            made[kind] = self._apply(kind)
        return made

    def plan(self, part: Slice, limit: int, draft: Draft, first: int = 0) -> int:
        """Plan events from the first one until the draft is full; return where it stopped."""
        if not in_binary_mode(part, self.envelope):
            return self.fast_path.plan(part, limit, draft, first)
        for index in range(first, len(part.values)):
            self._event(part, index, limit, draft, binary=True)
            if draft.stopped is not None:
                return draft.stopped
        return len(part.values)

    def _event(
        self, part: Slice, index: int, limit: int, draft: Draft, *, binary: bool = False
    ) -> Form | None:
        """Plan one event of any form, however long it takes."""
        form = self._any_form(part, index, limit, draft, binary=binary)
        draft.planned(index)
        return form

    def _any_form(
        self, part: Slice, index: int, limit: int, draft: Draft, *, binary: bool
    ) -> Form | None:
        """Plan one event by its type's function if that succeeds, else slowly.

        Return its form, which the next events probably share; None if it was not sound.
        """
        elements = None if binary else elements_of(part.values[index], self.envelope, limit)
        if elements is not None:
            draft.open_list(index, _slice_of(elements, part, index))
            return None
        try:
            reading = self.read(part, index, limit, binary=binary)
        except Rejected as error:
            rejection = Rejection(part.record(index), None, (fault_of(error),))
            draft.plan.rejections.append(rejection)
            return None
        if reading is None:
            return None
        kind = reading.kind
        try:
            if reading.images:
                self._change(reading, part, index, draft.sinks)
            else:
                self.table[kind](reading.data, reading.event, kind, part, index, draft.sinks)
        except Exception:  # noqa: BLE001 - the slow path gives the reason
            self._plan_slowly(reading, part, index, draft)
            return None
        if reading.images:
            return "change"
        return "around" if reading.data is reading.event else "apart"

    def _change(self, reading: Reading, part: Slice, index: int, sinks: list[Sink]) -> None:
        """Plan a change event: each rule renders its names for both rows."""
        singles = self._changes.get(reading.kind)
        if singles is None:
            singles = [self._single(hit) for hit in self.hits(reading)]
            if len(self._changes) < MEMO and len(reading.kind) <= MEMO_LENGTH:
                self._changes[reading.kind] = singles
        for single in singles:
            made = single.change(reading, part, index)
            if made is None:
                raise ValueError
            for row in made:
                pour(row, single.unit.sinks, sinks, index)
        if not singles:
            sinks[UNMATCHED](1)

    def _plan_slowly(self, reading: Reading, part: Slice, index: int, draft: Draft) -> None:
        """Run the rules one by one: where one rejects the event, the others still apply."""
        hits = self.hits(reading)
        if not hits and reading.kind not in OWN_EVENTS:
            draft.sinks[UNMATCHED](1)
        faults = []
        for hit in hits:
            rule = self._rules[hit[0]]
            ruling = self.ruling(hit, reading, part, index)
            if ruling.fault:
                faults.append(ruling.fault)
            for noted in ruling.noted:
                draft.note((rule.name, *noted), index)
            draft.count([name.name for name in ruling.names], index)
            for name in ruling.names:
                getattr(draft.names(name.cache), name.kind).add(name.name)
                if rule.repeat_after:
                    again = draft.names(name.cache, rule.repeat_after)
                    getattr(again, name.kind).add(name.name)
        if faults:
            rejection = Rejection(part.record(index), reading.kind, tuple(faults))
            draft.plan.rejections.append(rejection)

    def read(self, part: Slice, index: int, limit: int, *, binary: bool = False) -> Reading | None:
        """Unwrap one record, or raise Rejected; return None if there is nothing to do."""
        raw = part.values[index]
        if raw is None:
            return None
        try:
            event = decode(raw, limit, part, index)
            reading = unwrap(event, self.envelope, part, index, binary=binary)
        except (Rejected, MemoryError):
            raise
        except Exception as error:  # a gap in our checks: this event's fault, no crash
            said = f"the event could not be read: {type(error).__name__}: {error}"
            raise Rejected(said, error="not-read") from error
        if reading and (segments := depth(reading.kind)) > MAX_SEGMENTS:
            said = f"the type has {segments} segments, more than {MAX_SEGMENTS}"
            raise Rejected(f"{said}: {shown(reading.kind)}", error="too-long")
        if reading and reading.kinds:
            kind = max(reading.kinds, key=lambda kind: len(self._tree.hits(kind)))
            reading = reading._replace(kind=kind)
        if reading and reading.guessed and not self.hits(reading):
            looked = ", ".join(self.envelope.types)
            said = f"the event has no type: looked for {looked}"
            said += f", and no rule is on {part.origin}" if part.origin else ""
            said += "; " + hint(event, [name for name, _ in headers_at(part, index)])
            raise Rejected(said, error="no-type")
        return reading

    def hits(self, reading: Reading) -> tuple[Hit, ...]:
        return self._tree.hits(reading.kind, named=reading.named)

    def ruling(self, hit: Hit, reading: Reading, part: Slice, index: int) -> Ruling:
        return self._single(hit).rule(reading, part, index)

    def binary(self, part: Slice) -> bool:
        """Return whether the types of these events may be in their headers."""
        return in_binary_mode(part, self.envelope)

    def _single(self, hit: Hit) -> SingleRule:
        single = self._singles.get(hit)
        if single is None:
            single = self._singles[hit] = SingleRule(self._unit(hit))
        return single

    def _apply(self, kind: str) -> Apply:
        """Return the function for a type, shared by all types that match the same rules."""
        hits = self._tree.hits(kind)
        function = self._functions.get(hits)
        if function is None:
            if len(self._functions) >= MEMO:
                self._functions.clear()
            function = compile_plain([self._unit(hit) for hit in hits]) if hits else _ignore
            self._functions[hits] = function
        if function is _ignore and kind in OWN_EVENTS:
            return _pass_over
        return function

    def _update(self, kind: str) -> Apply:
        """Return the function for updated rows of a type, shared like that of `_apply`."""
        hits = self._tree.hits(kind)
        if hits not in self._both:
            if len(self._both) >= MEMO:
                self._both.clear()
            units = [self._unit(hit) for hit in hits]
            self._both[hits] = compile_update(units) if hits else _ignore_update
        return self._both[hits]

    def _unit(self, hit: Hit) -> Unit:
        rule = self._rules[hit[0]]
        delays = (None, rule.repeat_after) if rule.repeat_after else (None,)
        sinks = tuple(
            tuple(self._lanes[rule.cache, effect.kind, delay] for delay in delays)
            for effect in rule.effects
        )
        return Unit(rule, hit[1], self._caches[rule.cache], sinks)


def element_of(record: Record, elements: Sequence[bytes], at: int) -> Record:
    """Return one event of a record that is a list of them."""
    return replace(record, raw=elements[at], position=f"{record.position}[{at}]")


def _slice_of(elements: list[bytes], part: Slice, index: int) -> Slice:
    def record(at: int) -> Record:
        return element_of(part.record(index), elements, at)

    headers = [part.headers[index]] * len(elements) if part.headers else ()
    return Slice(part.origin, [*elements], record, headers)


def _ignore(
    data: object, event: object, kind: str, part: Slice, index: int, sinks: list[Sink]
) -> None:  # not *arguments, which would take longer
    sinks[UNMATCHED](1)


def _ignore_update(*arguments: Any) -> None:
    arguments[-1][UNMATCHED](1)


def _pass_over(*_: object) -> None:
    """Pass over one of our own events that no rule is on."""
