"""From checked nodes to frozen data: templates, types and conditions are parsed on the way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from invalidator import layout
from invalidator.envelope import AUTO, Envelope
from invalidator.envelope.reading import data_problem, type_problem
from invalidator.model import KINDS
from invalidator.rules import condition, matching, shape, template, yaml12
from invalidator.rules.condition import ConditionSyntaxError
from invalidator.rules.matching import Pattern
from invalidator.rules.schema import (
    DEFAULT_KEYS,
    DEFAULT_LAYOUTS,
    MAX_KEYS,
    Cache,
    Condition,
    Effect,
    Layout,
    Place,
    Rule,
    Test,
)
from invalidator.rules.spec import Object
from invalidator.rules.yaml12 import Entry, Node, Report
from invalidator.units import parse_duration

T = TypeVar("T")
Fields = dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Parts:
    """What one file holds."""

    rules: tuple[Rule, ...] = ()
    caches: tuple[Cache, ...] = ()
    envelope: Envelope | None = None
    envelope_place: Place | None = None
    sources: tuple[tuple[str, Envelope], ...] = ()
    tests: tuple[Test, ...] = ()


def read(text: bytes, report: Report) -> Parts:
    """The parts of a file that are in order; the report has the others."""
    root = yaml12.read(text, report)
    if root is None:
        if not report.problems:
            report.at(1, 1, "the file is empty: expected rules:")
        return Parts()
    before = len(report.problems)
    shape.FILE.check(root, report, "the file")
    if not isinstance(root.value, dict):
        return Parts()
    if len(report.problems) > before:
        # Templates and conditions of sound rules are read all the same: every mistake at once.
        return Parts(tuple(_sound(root.value, report)))
    return _Builder(report).parts(root.value)


def _sound(fields: Fields, report: Report) -> list[Rule]:
    entry = fields.get("rules")
    nodes = entry.value.value if entry and isinstance(entry.value.value, list) else []
    builder, rules = _Builder(report), []
    for node in nodes:
        silent = Report(report.file)
        shape.RULE.check(node, silent, "rules")
        if not silent.problems:
            rules.append(builder.rule(node))
    return [rule for rule in rules if rule]


class _Builder:
    def __init__(self, report: Report) -> None:
        self.report = report

    def parts(self, fields: Fields) -> Parts:
        envelope = fields.get("envelope")
        around: Fields = envelope.value.value if envelope else {}
        rules = [self.rule(node) for node in _items(fields, "rules")]
        return Parts(
            rules=tuple(rule for rule in rules if rule),
            caches=tuple(self._cache(entry) for entry in _named(fields, "caches")),
            envelope=self._envelope(around) if set(around) - {"sources"} else None,
            envelope_place=self._place(envelope.key) if envelope else None,
            sources=tuple(
                (entry.key.text, self._envelope(entry.value.value))
                for entry in _named(around, "sources")
            ),
            tests=tuple(self._test(node) for node in _items(fields, "tests")),
        )

    def rule(self, node: Node) -> Rule | None:
        """One rule whose shape is sound."""
        before = len(self.report.problems)
        fields: Fields = node.value
        rule = Rule(
            name=_text(fields, "name"),
            on=tuple(self._pattern(entry) for entry in _items(fields, "on")),
            effects=self._effects(fields["invalidate"].value, shape.INVALIDATE),
            place=self._place(fields["name"].value),
            when=self._when(fields),
            on_error=_value(fields, "on_error", "apply"),
            repeat_after=_seconds(fields, "repeat_after"),
            cache=_value(fields, "cache", "default"),
            sources=tuple(entry.value for entry in _items(fields, "source")),
            on_reject=self._fallback(fields),
            max_keys=_value(fields, "max_keys", MAX_KEYS),
            allow_broad=_value(fields, "allow_broad", False),
            enabled=_value(fields, "enabled", True),
            description=_value(fields, "description", ""),
            owner=_value(fields, "owner", ""),
        )
        self._agree(node, rule)
        return rule if len(self.report.problems) == before else None

    def _pattern(self, node: Node) -> Pattern:
        return self._parse(node, matching.parse, Pattern("", (), ()))

    def _effects(self, node: Node, allowed: Object) -> tuple[Effect, ...]:
        nothing = template.Template("", ())
        return tuple(
            Effect(kind, self._parse(entry, template.parse, nothing), self._place(entry))
            for kind in KINDS
            if kind in allowed.fields
            for entry in _items(node.value, kind)
        )

    def _fallback(self, fields: Fields) -> tuple[Effect, ...]:
        if "on_reject" not in fields:
            return ()
        node = fields["on_reject"].value
        effects = self._effects(node, shape.INVALIDATE)
        for effect in effects:
            if effect.template.slots():
                said = "on_reject names are fixed: a field could be what is missing"
                place = effect.place
                self.report.at(place.line, place.column, said, effect.template.text)
        return effects

    def _when(self, fields: Fields) -> Condition | None:
        if "when" not in fields:
            return None
        node = fields["when"].value
        try:
            return Condition(node.value, condition.parse(node.value), self._place(node))
        except ConditionSyntaxError as error:
            self.report.add(node, f"when: {error.message}", offset=error.column - 1)
            return None

    def _agree(self, node: Node, rule: Rule) -> None:
        """What the parts of one rule must hold together."""
        if rule.on_error != "apply" and "when" not in node.value:
            self.report.add(
                node.value["on_error"].key, "on_error: there is no when: that could fail"
            )
        captured = [dict(pattern.captures) for pattern in rule.on]
        for effect in rule.effects:
            for path in effect.template.paths():
                if path.root == "match":
                    self._captured(effect.place, path.text, str(path.steps[0]), rule, captured)
        for read in condition.reads(rule.when.tree) if rule.when else ():
            if read.root == "match" and read.path and rule.when:
                self._captured(rule.when.place, rule.when.text, read.path[0], rule, captured)
        fixed = sum(
            1 for effect in rule.effects if not any(p.lists() for p in effect.template.paths())
        )
        if fixed > rule.max_keys:
            said = f"the rule has {fixed} templates, more than its max_keys"
            self.report.add(node.value["max_keys"].value, said)

    def _captured(
        self, place: Place, text: str, name: str, rule: Rule, captured: list[dict[str, int]]
    ) -> None:
        for pattern, names in zip(rule.on, captured, strict=True):
            if name not in names:
                said = f"match.{name}: on: {pattern.text} captures no {{{name}}}"
                self.report.at(place.line, place.column, said, text)

    def _cache(self, entry: Entry) -> Cache:
        fields: Fields = entry.value.value
        layouts = tuple(self._layout(node.value) for node in _items(fields, "tags"))
        versions = fields["versions"].value.value if "versions" in fields else {}
        return Cache(
            name=entry.key.text,
            prefix=_value(fields, "prefix", ""),
            layouts=layouts or DEFAULT_LAYOUTS,
            version=self._key(versions["key"].value, "name") if versions else layout.VERSION,
            protect=tuple(node.value for node in _items(fields, "protect")),
            place=self._place(entry.key),
            tagged=bool(layouts),
        )

    def _layout(self, fields: Fields) -> Layout:
        kind = fields["layout"].value.value
        written = fields.get("key")
        key = self._key(written.value, "tag") if written else DEFAULT_KEYS[kind]
        return Layout(kind, key, _value(fields, "members", "full"))

    def _key(self, node: Node, slot: str) -> str:
        if node.value.count(f"{{{slot}}}") != 1:
            self.report.add(node, f"expected {{{slot}}} exactly once")
        return str(node.value)

    def _envelope(self, fields: Fields) -> Envelope:
        for node in _items(fields, "type"):
            if said := type_problem(node.value):
                self.report.add(node, f"type: {said}")
        data = _value(fields, "data", AUTO)
        if said := data_problem(data):
            self.report.add(fields["data"].value, f"data: {said}")
        types = tuple(node.value for node in _items(fields, "type"))
        return Envelope(_value(fields, "format", AUTO), types or Envelope().types, data)

    def _test(self, node: Node) -> Test:
        fields: Fields = node.value
        wanted = fields["expect"].value
        names: Fields = wanted.value if isinstance(wanted.value, dict) else {}
        headers = _named(fields, "headers")
        event = fields["event"].value.plain()
        called = event.get("type")
        return Test(
            name=_value(fields, "name", f"{called or 'an event'} of line {node.line}"),
            place=self._place(node),
            event=event,
            names={kind: frozenset(entry.value for entry in _items(names, kind)) for kind in KINDS},
            rejected=frozenset(entry.value for entry in _items(names, "rejected")),
            source=_value(fields, "source", ""),
            key=_value(fields, "key", None),
            headers=tuple((entry.key.text, entry.value.value) for entry in headers),
        )

    def _parse(self, node: Node, parse: Callable[[str], T], nothing: T) -> T:
        try:
            return parse(node.value)
        except (template.TemplateError, matching.PatternError) as error:
            self.report.add(node, str(error), offset=error.offset)
        return nothing

    def _place(self, node: Node) -> Place:
        return Place(self.report.file, node.line, node.column)


def _items(fields: Fields, name: str) -> list[Node]:
    """The elements of a list, of one value alone, of nothing."""
    if name not in fields:
        return []
    node = fields[name].value
    return node.value if isinstance(node.value, list) else [node]


def _named(fields: Fields, name: str) -> list[Entry]:
    return list(fields[name].value.value.values()) if name in fields else []


def _text(fields: Fields, name: str) -> str:
    return str(fields[name].value.value)


def _value(fields: Fields, name: str, default: Any) -> Any:
    return fields[name].value.value if name in fields else default


def _seconds(fields: Fields, name: str) -> float | None:
    return parse_duration(fields[name].value.value) if name in fields else None
