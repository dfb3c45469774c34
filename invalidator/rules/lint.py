"""`check`: every mistake of the rules, and what their author probably meant otherwise."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path as FilePath
from typing import Final, Literal

from msgspec import Struct

from invalidator.errors import Problem, RulesError
from invalidator.rules import globs
from invalidator.rules.condition.tree import Literal as Constant
from invalidator.rules.envelope import Envelope
from invalidator.rules.envelope.reading import type_of
from invalidator.rules.file.load import load
from invalidator.rules.file.validate import problem
from invalidator.rules.plan.event_types import Pattern, is_wild
from invalidator.rules.rule import Effect, Rule
from invalidator.rules.ruleset import RuleSet
from invalidator.runtime.text import nearest, visible
from invalidator.runtime.units import show_duration
from invalidator.templates import Path, Slot, Template

Severity = Literal["error", "warning", "note"]


class Finding(Struct, frozen=True):
    severity: Severity
    problem: Problem


class Checked(Struct, frozen=True):
    findings: tuple[Finding, ...]
    ruleset: RuleSet | None  # None: the rules cannot be used

    @property
    def good(self) -> bool:
        return self.ruleset is not None


_UNAMBIGUOUS: Final = frozenset({"segment", "urlencode", "md5", "sha1", "sha256"})
_EXPRESSION: Final = re.compile(r"\^|.*\$$|.*(?:[:/]|^)\.\*", re.S)


def check(path: FilePath, *, drain: float | None = None, origins: Sequence[str] = ()) -> Checked:
    """Return all that can be said of the rules without running them.

    Where they are known: `drain` is how long a shutdown may take, `origins` what is read.
    """
    try:
        ruleset = load(path)
    except RulesError as error:
        return Checked(tuple(Finding("error", found) for found in error.problems), None)
    findings = [Finding("warning", found) for found in _warnings(ruleset)]
    notes = [*unread(ruleset.rules, origins), *ambiguous(ruleset.rules)]
    notes += outlasting(ruleset.rules, drain) if drain is not None else ()
    findings += [Finding("note", problem(rule.place, said, rule.name)) for rule, said in notes]
    findings += [Finding("note", found) for found in _hash_tags(ruleset)]
    findings.sort(key=lambda entry: (entry.problem.file, entry.problem.line, entry.problem.column))
    return Checked(tuple(findings), ruleset)


def outlasting(rules: Iterable[Rule], drain: float) -> Iterator[tuple[Rule, str]]:
    """Yield the rules whose second pass a shutdown cannot wait for, each with what that means."""
    for rule in rules:
        if rule.repeat_after and rule.repeat_after > drain:
            yield (
                rule,
                f"the second pass comes {show_duration(rule.repeat_after)} after the first, and a "
                f"shutdown waits {show_duration(drain)} at most (INVALIDATOR_DRAIN_TIMEOUT): "
                "events between the two are not acknowledged then, the daemon ends with exit code "
                "3, and the next start makes both passes; of pub/sub, which keeps nothing, the "
                "second is made at the shutdown",
            )


def unread(rules: Iterable[Rule], origins: Sequence[str]) -> Iterator[tuple[Rule, str]]:
    """Yield the rules that no event can reach, each with the reason.

    `origins` are what is read, as the settings have it: names, globs, and expressions after a ^.
    """
    for rule in rules if origins else ():
        if rule.enabled and rule.sources and not _reached(rule.sources, origins):
            wanted = ", ".join(map(visible, rule.sources))
            hint = nearest(rule.sources[0], origins)
            yield rule, f"it is only for {wanted}, which is not read here{hint}"


def ambiguous(rules: Iterable[Rule]) -> Iterator[tuple[Rule, str]]:
    """Yield the rules where "a:b" and "c" give the same name as "a" and "b:c"."""
    for rule in rules:
        texts = [effect.template for effect in rule.effects if _is_ambiguous(effect.template)]
        if texts:
            yield (
                rule,
                f"{texts[0].text}: values may hold a colon, and then name what other values name: "
                "end them with |segment, here and where the cache writes the key, unless they are "
                "numbers or ids",
            )


def _is_ambiguous(template: Template) -> bool:
    loose = [
        slot
        for slot in template.slots()
        if isinstance(slot.source, Path)
        and slot.source.root != "match"
        and not _UNAMBIGUOUS & {entry.name for entry in slot.filters}
    ]
    return len(loose) > 1 and any(isinstance(p, str) and ":" in p for p in template.parts[1:])


def _reached(sources: Iterable[str], origins: Sequence[str]) -> bool:
    return any(_meet(source, origin) for source in sources for origin in origins)


def _meet(source: str, origin: str) -> bool:
    if origin.startswith("^"):
        return "*" in source or re.match(origin, source) is not None
    return source == origin or globs.meet(globs.tokens(source), globs.tokens(origin))


def _warnings(ruleset: RuleSet) -> Iterator[Problem]:
    shown = {type_of(dict(test.event), Envelope().types) or test.source for test in ruleset.tests}
    for rule in ruleset.rules:
        for pattern in rule.on:
            if pattern.text not in shown and (said := _of_type(pattern)):
                yield problem(rule.place, said, pattern.text)
        if rule.when and isinstance(rule.when.tree, Constant) and not rule.when.tree.value:
            said = "when: this never holds; enabled: false turns a rule off"
            yield problem(rule.when.place, said, rule.when.text)
        yield from _missing_rows(rule)
        prefix = ruleset.caches[rule.cache].prefix
        for effect in (*rule.effects, *rule.on_reject):
            for said in _of_name(effect, prefix):
                yield problem(effect.place, said, effect.template.text)


def _of_type(pattern: Pattern) -> str:
    """Return why probably no event has a type that matches this."""
    if "," in pattern.text:
        return "on: this is one type with a comma in it; several are a list: [a, b]"
    if found := re.search(r"[\^|()?]", pattern.text):
        said = f"on: {found[0]} stands for itself, since a type is not a regular expression: "
        return said + "* is one segment, ** any number, several types are a list"
    return ""


def _missing_rows(rule: Rule) -> Iterator[Problem]:
    """A created row has no old one, a deleted row no new one: there the rule is rejected."""
    ends = {pattern.tokens[-1].lstrip(".:") for pattern in rule.on}
    wild = any(is_wild(pattern.tokens[-1]) for pattern in rule.on)
    for effect in rule.effects:
        for slot in effect.template.slots():
            path = slot.source
            if not isinstance(path, Path) or slot.optional or slot.default is not None:
                continue
            verb = {"before": "created", "after": "deleted"}.get(path.root)
            if verb and (wild or verb in ends):
                said = f"a {verb} row has no row {path.root} it, and would be rejected: write "
                said += f"{{{path.text}?}}, or other types in on:"
                yield problem(effect.place, said, effect.template.text)


def _of_name(effect: Effect, prefix: str) -> Iterator[str]:
    template = effect.template
    literals = [part for part in template.parts if isinstance(part, str)]
    if effect.kind == "patterns":
        yield from _of_glob(template)
    elif any("*" in part for part in literals):
        more = "patterns: takes every key that matches" if effect.kind == "keys" else "name each"
        yield f"a * stands for itself in {effect.kind}; {more}"
    ended = prefix and not prefix[-1].isalnum()  # `u` begins many names that are not its
    if effect.kind in ("keys", "patterns") and ended and template.text.startswith(prefix):
        yield f"the cache's prefix stands before this: {prefix}{template.text}"
    for slot in template.slots():
        if _whole(slot):
            said = f"{slot.text} is all of the event's data, where one value belongs: "
            yield said + "write {data.field}, or {data|json} for all of it"
    for before, after in zip(template.parts, template.parts[1:], strict=False):
        if isinstance(before, str) and before.endswith("$") and isinstance(after, Slot):
            yield f"the $ is part of the name; a field is {after.text} alone"


def _whole(slot: Slot) -> bool:
    path = slot.source
    if not isinstance(path, Path) or path.root != "data" or path.steps:
        return False
    return all(entry.name != "json" for entry in slot.filters)


def _of_glob(template: Template) -> Iterator[str]:
    """Yield what is odd about a pattern; a slot's value has no wildcards, they are escaped."""
    glob = "".join(part if isinstance(part, str) else "x" for part in template.parts)
    if _EXPRESSION.match(glob):
        said = "a pattern is a glob, not a regular expression: * is any text, ^ . $ stand for "
        yield f"{said}themselves"
    elif all(kind == "=" for kind, _ in globs.tokens(glob)):
        yield "without *, ? or [...] this is one key: under keys: it needs no sweep"


def _hash_tags(ruleset: RuleSet) -> Iterator[Problem]:
    """Yield where literal braces choose the slot in a Redis Cluster."""
    for rule in ruleset.rules:
        for effect in rule.effects:
            on_redis = effect.kind == "keys" and not ruleset.caches[rule.cache].at_edge
            tag = _hash_tag(effect.template) if on_redis else ""
            if tag:
                said = f"in a Redis Cluster the slot is that of {tag}"
                if tag.isidentifier():
                    said += f"; this is the text {{{tag}}}, and the field is {{{tag}}} in single "
                    said += f"braces, or {{{{{{{tag}}}}}}} with a brace around its value"
                yield problem(effect.place, said, effect.template.text)


def _hash_tag(template: Template) -> str:
    """Return the text between a template's first literal { and the next }, slots as written."""
    text = "".join(  # the braces of slots must not be found
        part if isinstance(part, str) else part.text.replace("{", "\0").replace("}", "\1")
        for part in template.parts
    )
    _, _, inside = text.partition("{")
    tag, closed, _ = inside.partition("}")
    return tag.replace("\0", "{").replace("\1", "}") if closed else ""
