"""A compiled rule set: plans batches for the pipeline, and answers what people ask."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

from msgspec.structs import replace

from invalidator.errors import Rejected
from invalidator.model import (
    OWN_EVENTS,
    Batch,
    Event,
    Failure,
    Fault,
    Plan,
    Record,
    Rejection,
    Slice,
)
from invalidator.rules import globs
from invalidator.rules.envelope import Envelope, Reading, elements_of
from invalidator.rules.explain.explain import Explanation, Verdict, unfulfilled, unmatched
from invalidator.rules.plan.draft import Draft, Lane
from invalidator.rules.plan.engine import Engine, element_of
from invalidator.rules.plan.event_types import PatternTree
from invalidator.rules.plan.slow_path import Ruling, fault_of
from invalidator.rules.rule import Cache, Rule, Test

INFINITE: Final = float("inf")
ORIGINS: Final = 1024  # topics and channels remembered: hostile ones must not fill the memory


class RuleSet:
    """Compiled rules; immutable except for its memory of types and origins."""

    def __init__(
        self,
        rules: Sequence[Rule],
        caches: Mapping[str, Cache],
        content: str,
        *,
        envelopes: Sequence[tuple[str, Envelope]] = (("*", Envelope()),),
        tests: Sequence[Test] = (),
    ) -> None:
        self.rules = tuple(rules)
        self.caches = dict(caches)
        self.hash = content  # short, of all files' content
        self.tests = tuple(tests)
        self.envelopes = tuple(
            envelopes
        )  # by origin, of which the first that fits counts; `*` is any text
        # By name: the rules whose effect is verified.
        self.verified = {
            rule.name: rule.verify for rule in self.rules if rule.verify and rule.enabled
        }
        self._lanes = _lanes(self.rules)
        self._engines: dict[tuple[tuple[int, ...], Envelope], Engine] = {}
        self._origins: dict[str, Engine] = {}
        one = len(self.envelopes) == 1 and not any(rule.sources for rule in self.rules)
        self._only = self._engine("") if one else None  # the same for all origins

    def plan(self, batch: Batch, *, max_event_bytes: int) -> Plan:
        """Return what a whole batch asks of the caches."""
        ((_, plan),) = self.portions(
            batch, max_event_bytes=max_event_bytes, name_bytes=INFINITE, seconds=INFINITE
        )
        return plan

    def portions(
        self, batch: Batch, *, max_event_bytes: int, name_bytes: float, seconds: float
    ) -> Iterator[tuple[Batch, Plan]]:
        """Yield a batch in portions, each with its plan.

        One ends where its names from lists take so many bytes, or planning it so many seconds:
        a few events may name millions of keys. A record that is a list of events becomes a slice
        of them.
        """
        slices: list[Slice] = []
        own: list[Slice] = []
        changed = False
        draft = Draft.of(self._lanes, name_bytes, seconds)
        todo = [(part, 0, planned) for parts, planned in ((batch.own, own), (batch.slices, slices))
                for part in reversed(parts) if part.values]  # fmt: skip
        while todo:
            part, first, planned = todo.pop()
            at = self._plan_slice(part, first, max_event_bytes, draft)
            if at > first:
                planned.append(part.between(first, at))
            events = draft.take_list()
            if at + (events is not None) < len(part.values):
                todo.append((part, at + (events is not None), planned))
            if events is not None:
                todo.append((events, 0, planned))
                changed = True
            elif todo and draft.stopped is not None:
                yield batch.portion([*slices], [*own], continued=True), draft.finished()
                slices.clear()
                own.clear()
                changed = True
                draft = Draft.of(self._lanes, name_bytes, seconds)
        if changed:
            batch = batch.portion(slices, own)
        yield batch, draft.finished()

    def _plan_slice(self, part: Slice, first: int, limit: int, draft: Draft) -> int:
        """Plan records from the first one until the draft is full; return where it stopped."""
        if part.refused is not None:
            draft.plan.rejections += _refused(part, part.refused)
            return len(part.values)
        end = self.engine(part.origin).plan(part, limit, draft, first)
        draft.end_slice(part.origin)
        return end

    def explain(
        self, record: Record, *, only_matching: bool = False, max_event_bytes: int | None = None
    ) -> Explanation:
        """Return what each rule says about one record, or only those whose types match."""
        explained, verdicts = self.explain_by_rule(
            record, only_matching=only_matching, max_event_bytes=max_event_bytes
        )
        return replace(explained, verdicts=tuple(verdicts))

    def explain_by_rule(
        self, record: Record, *, only_matching: bool = False, max_event_bytes: int | None = None
    ) -> tuple[Explanation, Iterator[Verdict]]:
        """Return the same, with the verdicts still to be made one by one."""
        found = [
            self._explained(event, max_event_bytes, only_matching=only_matching)
            for event in self._events(record)
        ]
        if len(found) == 1:
            return found[0]
        verdicts = itertools.chain.from_iterable(each for _, each in found)
        events = [one.event for one, _ in found if one.event]
        faults = [one.fault for one, _ in found if one.fault]
        event, fault = next(iter(events), None), next(iter(faults), None)
        return Explanation(record, event, (), fault), verdicts

    def explain_events(self, record: Record, *, max_event_bytes: int) -> Iterator[Explanation]:
        """Yield what the matching rules say about each event of a record."""
        for event in self._events(record):
            explained, verdicts = self._explained(event, max_event_bytes, only_matching=True)
            yield replace(explained, verdicts=tuple(verdicts))

    def _events(self, record: Record) -> list[Record]:
        """Return each event of a record that is a list of them, or the record itself."""
        raw, engine = record.raw, self.engine(record.origin)
        part = Slice(record.origin, [raw], lambda _: record)
        elements = elements_of(raw, engine.envelope, len(raw or b""))
        if elements is None or engine.binary(part):
            return [record]
        return [element_of(record, elements, at) for at in range(len(elements))]

    def _explained(
        self, record: Record, max_event_bytes: int | None, *, only_matching: bool
    ) -> tuple[Explanation, Iterator[Verdict]]:
        try:
            part, engine, reading = self._read(record, max_event_bytes)
        except Rejected as error:
            return Explanation(record, None, (), fault_of(error)), iter(())
        if reading is None:
            return Explanation(record, None, ()), iter(())
        hits = dict(engine.hits(reading))
        asked = sorted(hits) if only_matching else range(len(self.rules))
        verdicts = (self._verdict(at, hits.get(at), reading, part, engine) for at in asked)
        return Explanation(record, _event(reading, record), ()), verdicts

    def met(self, record: Record, *, max_event_bytes: int) -> Iterator[tuple[str, str, Ruling]]:
        """Yield the type, the rule's name and its outcome for each rule that matches a record."""
        for event in self._events(record):
            try:
                part, engine, reading = self._read(event, max_event_bytes)
            except Rejected:
                continue
            if reading is None:
                continue
            for hit in engine.hits(reading):
                ruling = engine.ruling(hit, reading, part, 0)
                yield reading.kind, self.rules[hit[0]].name, ruling

    def unmatched(self, record: Record, *, max_event_bytes: int) -> Iterator[str]:
        """Yield the types of a record's events that no rule matches."""
        for event in self._events(record):
            try:
                _, engine, reading = self._read(event, max_event_bytes)
            except Rejected:
                continue
            if reading and reading.kind not in OWN_EVENTS and not engine.hits(reading):
                yield reading.kind

    def written(self, kind: str) -> str | None:
        """Return the pattern that a type matches, as rules write it; literal ones first."""
        if kind in self._tree.literal:
            return kind
        hits = self._tree.hits(kind)
        return self.rules[hits[0][0]].on[hits[0][1]].text if hits else None

    def blame(
        self, batch: Batch, failures: Sequence[Failure], *, max_event_bytes: int
    ) -> Iterator[Rejection | None]:
        """Yield for each event of a batch whether it gave names which can never be applied."""
        wanted = {(entry.cache, entry.kind, entry.name): entry for entry in failures}
        for event in itertools.chain.from_iterable(map(self._events, batch.records())):
            explanation = self.explain(event, only_matching=True, max_event_bytes=max_event_bytes)
            faults = tuple(
                Fault(failure.error, failure.message, verdict.rule, name.template)
                for verdict in explanation.verdicts
                for name in verdict.names
                if (failure := wanted.get((name.cache, name.kind, name.name)))
            )
            kind = explanation.event.type if explanation.event else None
            yield Rejection(event, kind, faults) if faults and kind is not None else None

    def engine(self, origin: str) -> Engine:
        found = self._only or self._origins.get(origin)
        if found is None:
            if len(self._origins) >= ORIGINS:
                self._origins.clear()
            found = self._origins[origin] = self._engine(origin)
        return found

    def _read(self, record: Record, most: int | None) -> tuple[Slice, Engine, Reading | None]:
        """Read a record of at most so many bytes; None: of any size, since a person asks."""
        part = Slice(record.origin, [record.raw], lambda _: record)
        engine = self.engine(record.origin)
        limit = len(record.raw or b"") if most is None else most
        return part, engine, engine.read(part, 0, limit, binary=engine.binary(part))

    def _engine(self, origin: str) -> Engine:
        """Return the engine, shared by all origins with the same rules and envelope."""
        chosen = tuple(
            at
            for at, rule in enumerate(self.rules)
            if rule.enabled and (not rule.sources or any(concerns(s, origin) for s in rule.sources))
        )
        envelope = next(found for pattern, found in self.envelopes if fits(pattern, origin))
        engine = self._engines.get((chosen, envelope))
        if engine is None:
            engine = Engine(self.rules, chosen, self.caches, self._lanes, envelope)
            self._engines[chosen, envelope] = engine
        return engine

    def _verdict(
        self, at: int, pattern: int | None, reading: Reading, part: Slice, engine: Engine
    ) -> Verdict:
        rule = self.rules[at]
        if pattern is None:
            meant = not rule.sources or any(concerns(entry, part.origin) for entry in rule.sources)
            said = unmatched(rule, reading, part.origin, meant=meant)
            return Verdict(rule.name, matched=False, why=said)
        ruling = engine.ruling((at, pattern), reading, part, 0)
        said = f"on {rule.on[pattern].text}"
        note = "; ".join(": ".join(noted) for noted in ruling.noted)
        if not ruling.applies and rule.when:
            said = unfulfilled(rule.when, reading)
        return Verdict(rule.name, ruling.applies, said, ruling.names, ruling.fault, note)

    @cached_property
    def _tree(self) -> PatternTree:
        """Return a tree of all rules, whatever origin they are for."""
        tree = PatternTree()
        for at, rule in enumerate(self.rules):
            for number, pattern in enumerate(rule.on):
                tree.add(pattern, (at, number))
        return tree

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of names that the rules give: keys, patterns, tags, versions."""
        return frozenset(kind for _, kind, _ in self._lanes)


def fits(pattern: str, origin: str) -> bool:
    """Return whether a pattern matches a topic or channel; `*` is any text."""
    if "*" not in pattern:
        return pattern == origin
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), origin, re.S) is not None


def concerns(source: str, origin: str) -> bool:
    """Return whether a rule's source is this origin; that of a gap event may be a glob."""
    if fits(source, origin):
        return True
    return "*" in origin and globs.meet(globs.tokens(source), globs.tokens(origin))


def _refused(part: Slice, fault: Fault) -> list[Rejection]:
    return [Rejection(part.record(at), None, (fault,)) for at in range(len(part.values))]


def _lanes(rules: Sequence[Rule]) -> list[Lane]:
    """Return every cache and kind that the rules use, in a fixed order."""
    lanes: dict[Lane, None] = {}
    for rule in rules:
        if rule.enabled:
            for effect in (*rule.effects, *rule.on_reject):
                lanes[rule.cache, effect.kind, None] = None
                if rule.repeat_after:
                    lanes[rule.cache, effect.kind, rule.repeat_after] = None
    return list(lanes)


def _event(reading: Reading, record: Record) -> Event:
    found = reading.event.get("id")
    return Event(reading.kind, reading.data, found if isinstance(found, str) else None, record)
