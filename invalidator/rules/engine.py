"""The hot path, from raw records to names, for the rules that apply to one origin.

It knows one function per event type and adds to sets. Whatever it raises sends that one event
down the careful path, which runs each rule by itself and says what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from invalidator.envelope import Envelope, Reading, decode, headed, unwrap
from invalidator.errors import Rejected
from invalidator.model import Kind, Names, Note, Plan, Rejection, Slice
from invalidator.rules.careful import Ruling, Single, fault_of
from invalidator.rules.compile import UNMATCHED, Apply, Unit, applying
from invalidator.rules.matching import Hit, Tree
from invalidator.rules.schema import Cache, Rule

MEMO: Final = 4096  # event types remembered: hostile ones must not grow memory
MEMO_LENGTH: Final = 256  # characters of a type that is remembered

Sink = Callable[[Any], object]
Lane = tuple[str, Kind, float | None]  # a cache, a kind, and for names applied again: when


@dataclass(slots=True)
class Draft:
    """A plan in the making, with the sinks that fill it."""

    plan: Plan
    sinks: list[Sink] = field(default_factory=list)
    unmatched: list[int] = field(default_factory=list)

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

    def note(self, about: tuple[str, str, str]) -> None:
        rule, word, message = about
        known = self.plan.notes.setdefault((rule, word), Note(0, message))
        known.count += 1


class _Table(dict[str, Apply]):
    """From an event's type to the function that holds all its rules."""

    def __init__(self, resolve: Callable[[str], Apply], fixed: Mapping[str, Apply]) -> None:
        super().__init__(fixed)
        self._resolve = resolve
        self._fixed = fixed

    def __missing__(self, kind: str) -> Apply:
        if not kind:
            raise KeyError(kind)
        function = self._resolve(kind)
        if len(kind) <= MEMO_LENGTH:
            if len(self) >= MEMO + len(self._fixed):
                self.clear()
                self.update(self._fixed)
            self[kind] = function
        return function


class Engine:
    """The rules for some origins, and how the events of these are read."""

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
        self._envelope = envelope
        self._tree = Tree()
        self._singles: dict[Hit, Single] = {}
        self._functions: dict[tuple[Hit, ...], Apply] = {}
        literals = []
        for at in chosen:
            for number, pattern in enumerate(rules[at].on):
                self._tree.add(pattern, (at, number))
                if pattern.literal:
                    literals.append(pattern.text)
        self.table = _Table(self._apply, {kind: self._apply(kind) for kind in literals})

    def plan(self, part: Slice, limit: int, draft: Draft) -> None:
        first = self._envelope.first
        if first is None or headed(part, self._envelope):
            for index in range(len(part.values)):
                self._event(part, index, limit, draft)
        else:
            self._plain(first, part, limit, draft)

    def _plain(self, first: str, part: Slice, limit: int, draft: Draft) -> None:
        """THE hot path: plain events, whose type stands in one field."""
        loads, table, sinks = orjson.loads, self.table, draft.sinks
        for index, raw in enumerate(part.values):
            try:
                if len(raw) > limit:  # type: ignore[arg-type]  # a tombstone raises, as it should
                    raise ValueError
                event = loads(raw)  # type: ignore[arg-type]
                kind = event[first]
                data = event.get("data")
                if type(data) is not dict:
                    if "specversion" in event:
                        raise ValueError
                    data = event
                table[kind](data, event, kind, part, index, sinks)
            except Exception:  # noqa: BLE001 - whatever it is, the careful path says it exactly
                self._event(part, index, limit, draft)

    def _event(self, part: Slice, index: int, limit: int, draft: Draft) -> None:
        """One event by the envelope: by its type's function if that succeeds, else carefully."""
        try:
            reading = self.read(part, index, limit)
        except Rejected as error:
            rejection = Rejection(part.record(index), None, (fault_of(error),))
            draft.plan.rejections.append(rejection)
            return
        if reading is None:
            return
        if not reading.images and not reading.named:
            kind = reading.kind
            try:
                self.table[kind](reading.data, reading.event, kind, part, index, draft.sinks)
                return
            except Exception:  # noqa: BLE001, S110 - said exactly below
                pass
        self._carefully(reading, part, index, draft)

    def _carefully(self, reading: Reading, part: Slice, index: int, draft: Draft) -> None:
        """Each rule by itself: what one rejects, the others still do."""
        hits = self.hits(reading)
        if not hits:
            draft.sinks[UNMATCHED](1)
        faults = []
        for hit in hits:
            rule = self._rules[hit[0]]
            ruling = self.ruling(hit, reading, part, index)
            if ruling.fault:
                faults.append(ruling.fault)
            if ruling.noted:
                draft.note((rule.name, *ruling.noted))
            for name in ruling.names:
                getattr(draft.names(name.cache), name.kind).add(name.name)
                if rule.repeat_after:
                    again = draft.names(name.cache, rule.repeat_after)
                    getattr(again, name.kind).add(name.name)
        if faults:
            rejection = Rejection(part.record(index), reading.kind, tuple(faults))
            draft.plan.rejections.append(rejection)

    def read(self, part: Slice, index: int, limit: int) -> Reading | None:
        """One record, unwrapped; Rejected where it cannot be, None where nothing is to do."""
        raw = part.values[index]
        if raw is None:
            return None
        reading = unwrap(decode(raw, limit, part, index), self._envelope, part, index)
        if reading and reading.guessed and not self.hits(reading):
            looked = ", ".join(self._envelope.types)
            said = f"the event has no type (looked for {looked}), and no rule is on {part.origin}"
            raise Rejected(said, error="no-type")
        return reading

    def hits(self, reading: Reading) -> tuple[Hit, ...]:
        return self._tree.hits(reading.kind, named=reading.named)

    def ruling(self, hit: Hit, reading: Reading, part: Slice, index: int) -> Ruling:
        single = self._singles.get(hit)
        if single is None:
            single = self._singles[hit] = Single(self._unit(hit))
        return single.rule(reading, part, index)

    def _apply(self, kind: str) -> Apply:
        """The function for a type, shared by all types that match the same rules."""
        hits = self._tree.hits(kind)
        function = self._functions.get(hits)
        if function is None:
            if len(self._functions) >= MEMO:
                self._functions.clear()
            function = applying([self._unit(hit) for hit in hits]) if hits else _ignore
            self._functions[hits] = function
        return function

    def _unit(self, hit: Hit) -> Unit:
        rule = self._rules[hit[0]]
        delays = (None, rule.repeat_after) if rule.repeat_after else (None,)
        sinks = tuple(
            tuple(self._lanes[rule.cache, effect.kind, delay] for delay in delays)
            for effect in rule.effects
        )
        return Unit(rule, hit[1], self._caches[rule.cache], sinks)


def _ignore(
    data: object, event: object, kind: str, part: Slice, index: int, sinks: list[Sink]
) -> None:
    sinks[UNMATCHED](1)
