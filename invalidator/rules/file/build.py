"""Build frozen data from checked nodes; parses templates, types and conditions."""

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from invalidator import layout, templates
from invalidator.model import KINDS
from invalidator.rules import condition, habits
from invalidator.rules.condition import ConditionSyntaxError
from invalidator.rules.envelope import AUTO, Envelope
from invalidator.rules.envelope.reading import data_problem, type_problem
from invalidator.rules.file import schema
from invalidator.rules.file.types import checked
from invalidator.rules.file.yaml import Entry, Node, Report, parse_yaml
from invalidator.rules.plan.event_types import PatternError, parse_pattern
from invalidator.rules.rule import (
    DEFAULT_KEYS,
    DEFAULT_LAYOUTS,
    Cache,
    Condition,
    Effect,
    Layout,
    Place,
    Rule,
    Test,
    Values,
    Verify,
)
from invalidator.runtime.text import nearest
from invalidator.runtime.units import parse_duration
from invalidator.templates import Template

T = TypeVar("T")
# Fields of a rule that are stored as they are written.
AS_WRITTEN = ("name", "on_error", "cache", "max_keys", "allow_broad", "enabled", "description",
              "owner")  # fmt: skip
OF_CACHE = ("target", "soft", "header", "bans")  # likewise, of a cache
Fields = dict[str, Entry]


class Parts(Struct, frozen=True):
    """The contents of one file."""

    rules: tuple[Rule, ...] = ()
    caches: tuple[Cache, ...] = ()
    values: Values | None = None  # None: not written
    values_place: Place | None = None
    envelope: Envelope | None = None
    envelope_place: Place | None = None
    sources: tuple[tuple[str, Envelope], ...] = ()
    tests: tuple[Test, ...] = ()


def read_parts(content: bytes, report: Report) -> Parts:
    """Return the sound parts of a file; the report has every mistake of the others."""
    root = parse_yaml(content, report)
    if root is None:
        if not report.problems:
            report.at(1, 1, "the file is empty: expected rules:")
        return Parts()
    sound = checked(schema.FILE, root, report, "the file")
    return _Builder(report).parts(sound.value) if sound else Parts()


class _Builder:
    def __init__(self, report: Report) -> None:
        self.report = report

    def parts(self, fields: Fields) -> Parts:
        envelope = fields.get("envelope")
        around: Fields = envelope.value.value if envelope else {}
        return Parts(
            rules=tuple(self._rule(node) for node in _items(fields, "rules")),
            caches=tuple(self._cache(entry) for entry in _named(fields, "caches")),
            values=_value(fields, "values", None),
            values_place=self._place(fields["values"].value) if "values" in fields else None,
            envelope=self._envelope(around) if set(around) - {"sources"} else None,
            envelope_place=self._place(envelope.key) if envelope else None,
            sources=tuple(
                (entry.key.text, self._envelope(entry.value.value))
                for entry in _named(around, "sources")
            ),
            tests=tuple(self._test(node) for node in _items(fields, "tests")),
        )

    def _rule(self, node: Node) -> Rule:
        """Return one rule, as far as it is sound."""
        fields: Fields = node.value
        named = fields["name"].value if "name" in fields else node
        rule = Rule(
            on=self._parsed(_items(fields, "on"), parse_pattern),
            effects=self._effects(fields, "invalidate"),
            place=self._place(named),
            when=self._when(fields),
            repeat_after=_seconds(fields, "repeat_after"),
            cache_place=self._place(fields["cache"].value) if "cache" in fields else None,
            sources=tuple(entry.value for entry in _items(fields, "source")),
            on_reject=self._fallback(fields),
            verify=self._verify(fields),
            **{name: fields[name].value.value for name in AS_WRITTEN if name in fields},
        )
        self._agree(fields, rule)
        return rule

    def _effects(self, fields: Fields, name: str) -> tuple[Effect, ...]:
        inner: Fields = fields[name].value.value if name in fields else {}
        effects = tuple(
            Effect(kind, parsed, self._place(entry))
            for kind in KINDS
            for entry in _items(inner, kind)
            for parsed in self._parsed([entry], templates.parse)
        )
        for effect in effects:
            if said := habits.mistake(effect.template):
                self.report.at(effect.place.line, effect.place.column, said, effect.template.text)
        return effects

    def _fallback(self, fields: Fields) -> tuple[Effect, ...]:
        effects = self._effects(fields, "on_reject")
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
            tree = condition.parse(node.value)
            for read in condition.reads(tree):
                if read.root == "root" and read.path[:1] in (("before",), ("after",)):
                    self.report.add(
                        node, f"when: {read.path[0]} is a root of its own: leave root. out"
                    )
            return Condition(node.value, tree, self._place(node))
        except ConditionSyntaxError as error:
            self.report.add(node, f"when: {error.message}", offset=error.column - 1)
            return None

    def _verify(self, fields: Fields) -> Verify | None:
        if "verify" not in fields:
            return None
        written = fields["verify"]
        inner: Fields = written.value.value
        if len({"cached", "entry"} & set(inner)) != 1:
            self.report.add(written.key, "verify: expected either cached: or entry:")
        if len({"event", "url", "sql"} & set(inner)) != 1:
            self.report.add(written.key, "verify: expected one of event:, url: and sql:")
        cached, event, truth = (
            tuple(node.value for node in _items(inner, name))
            for name in ("cached", "event", "truth")
        )
        if len(compared := event or truth or cached or ("",)) != len(cached or ("",)):
            said = f"verify: {len(cached or ('',))} fields cannot be compared with {len(compared)}"
            self.report.add(written.key, said)
        if truth and event:
            self.report.add(inner["truth"].key, "verify: truth: belongs to url: or sql:")
        if "entry" in inner and not event and not truth:
            said = "verify: say which field of the truth is the entry's version, as truth:"
            self.report.add(written.key, said)
        url, sql = self._truth(inner, "url"), self._truth(inner, "sql")
        self._known_in_keys(fields, url or sql)
        return Verify(self._place(written.key), cached, event, truth or cached, url, sql)

    def _truth(self, inner: Fields, name: str) -> Template | None:
        parsed = self._parsed(_items(inner, name), templates.parse)
        return parsed[0] if parsed else None

    def _known_in_keys(self, fields: Fields, source: Template | None) -> None:
        """Report fields of a source of truth that no key shows: it is asked about a key alone."""
        keys = [
            each.template for each in self._effects(fields, "invalidate") if each.kind == "keys"
        ]
        known = {path.text for template in keys for path in template.paths()}
        for path in source.paths() if source else ():
            if path.text not in known:
                hint = nearest(path.text, known)
                said = f"verify: {{{path.text}}} is no field in a template of keys{hint}"
                self.report.add(fields["verify"].key, said)

    def _agree(self, fields: Fields, rule: Rule) -> None:
        """Report parts of one rule that contradict each other."""
        if rule.on_error != "apply" and "when" not in fields:
            self.report.add(fields["on_error"].key, "on_error: there is no when: that could fail")
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
            said = f"the rule has {fixed} templates, more than its max_keys: {rule.max_keys}"
            self.report.at(rule.place.line, rule.place.column, said, rule.name)

    def _captured(
        self, place: Place, text: str, name: str, rule: Rule, captured: list[dict[str, int]]
    ) -> None:
        for pattern, names in zip(rule.on, captured, strict=True):
            if name not in names:
                hint = nearest(name, names) if names else f"; write a segment of it as {{{name}}}"
                said = f"match.{name}: on: {pattern.text} captures no {{{name}}}{hint}"
                self.report.at(place.line, place.column, said, text)

    def _cache(self, entry: Entry) -> Cache:
        fields: Fields = entry.value.value
        tags = _items(fields, "tags")
        layouts = tuple(self._layout(node.value) for node in tags if "layout" in node.value)
        versions: Fields = fields["versions"].value.value if "versions" in fields else {}
        return Cache(
            name=entry.key.text,
            prefix=_value(fields, "prefix", ""),
            layouts=layouts or DEFAULT_LAYOUTS,
            version=self._key(versions["key"].value, "name") if versions else layout.VERSION,
            protect=tuple(node.value for node in _items(fields, "protect")),
            place=self._place(entry.key),
            tagged=bool(layouts),
            written=tuple(fields),
            **{name: fields[name].value.value for name in OF_CACHE if name in fields},
        )

    def _layout(self, fields: Fields) -> Layout:
        kind = fields["layout"].value.value
        written = fields.get("key")
        key = self._key(written.value, "tag") if written else DEFAULT_KEYS[kind]
        place = self._place(written.value if written else fields["layout"].value)
        return Layout(kind, key, _value(fields, "members", "full"), place)

    def _key(self, node: Node, slot: str) -> str:
        key = str(node.value)
        if key.count(f"{{{slot}}}") != 1:
            self.report.add(node, f"expected {{{slot}}} exactly once, such as cache:{{{slot}}}")
        return key

    def _envelope(self, fields: Fields) -> Envelope:
        for node in _items(fields, "type"):
            if said := type_problem(node.value):
                self.report.add(node, f"type: {said}")
        data = _value(fields, "data", AUTO)
        if said := data_problem(data):
            self.report.add(fields["data"].value, f"data: {said}")
        types = tuple(node.value for node in _items(fields, "type"))
        old_rows = _value(fields, "old_rows", AUTO)
        return Envelope(_value(fields, "format", AUTO), types or Envelope().types, data, old_rows)

    def _test(self, node: Node) -> Test:
        fields: Fields = node.value
        wanted = _value(fields, "expect", None)
        names: Fields = wanted if isinstance(wanted, dict) else {}
        headers = _named(fields, "headers")
        event = fields["event"].value.plain() if "event" in fields else {}
        called = event.get("type")
        return Test(
            name=_value(fields, "name", f"{called or 'an event'} of line {node.line}"),
            place=self._place(node),
            event=event,
            names={kind: frozenset(entry.value for entry in _items(names, kind)) for kind in KINDS},
            rejected={entry.value: self._place(entry) for entry in _items(names, "rejected")},
            source=_value(fields, "source", ""),
            key=_value(fields, "key", None),
            headers=tuple((entry.key.text, entry.value.value) for entry in headers),
        )

    def _parsed(self, nodes: list[Node], parse: Callable[[str], T]) -> tuple[T, ...]:
        """Parse texts, and report those that cannot be parsed."""
        found = []
        for node in nodes:
            try:
                found.append(parse(node.value))
            except (templates.TemplateError, PatternError) as error:
                self.report.add(node, str(error), offset=error.offset)
        return tuple(found)

    def _place(self, node: Node) -> Place:
        return Place(self.report.file, node.line, node.column)


def _items(fields: Fields, name: str) -> list[Node]:
    """Return the elements of a list; one value alone is a list of one."""
    if name not in fields:
        return []
    node = fields[name].value
    return node.value if isinstance(node.value, list) else [node]


def _named(fields: Fields, name: str) -> list[Entry]:
    return list(fields[name].value.value.values()) if name in fields else []


def _value(fields: Fields, name: str, default: Any) -> Any:
    return fields[name].value.value if name in fields else default


def _seconds(fields: Fields, name: str) -> float | None:
    return parse_duration(fields[name].value.value) if name in fields else None
