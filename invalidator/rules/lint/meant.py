"""What is in order, and does something else than its author means, probably."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from invalidator.errors import Problem
from invalidator.rules import condition, globs
from invalidator.rules.condition.tree import Literal
from invalidator.rules.envelope import Envelope
from invalidator.rules.envelope.reading import type_of
from invalidator.rules.plan.event_types import Pattern
from invalidator.rules.rule import Effect, Place, Rule
from invalidator.rules.ruleset import RuleSet
from invalidator.runtime.text import closest
from invalidator.templates import EVENT, ROOTS, Path, Slot, Step, Template

# Words of other languages for what CEL writes small: here they are fields of the data.
_WORDS: Final = {
    "True": "true",
    "TRUE": "true",
    "False": "false",
    "FALSE": "false",
    **dict.fromkeys(("None", "NULL", "nil", "undefined"), "null"),
}
_EXPRESSION: Final = re.compile(r"\^|.*\$$|.*(?:[:/]|^)\.\*", re.S)
_CLASSES: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]", re.S)


def meant_otherwise(ruleset: RuleSet) -> Iterator[Problem]:
    shown = {type_of(dict(test.event), Envelope().types) or test.source for test in ruleset.tests}
    for rule in ruleset.rules:
        for pattern in rule.on:
            if pattern.text not in shown and (said := _of_type(pattern)):
                yield _problem(rule.place, said, pattern.text)
        yield from _of_condition(rule)
        yield from _misspelt_roots(rule)
        prefix = ruleset.caches[rule.cache].prefix
        for effect in (*rule.effects, *rule.on_reject):
            for said in _of_name(effect, prefix):
                yield _problem(effect.place, said, effect.template.text)


def _problem(place: Place, message: str, text: str) -> Problem:
    return Problem(place.file, place.line, place.column, message, text)


def _of_type(pattern: Pattern) -> str:
    """What no event's type looks like, and no test shows."""
    if pattern.text != pattern.text.strip():
        return "on: this type begins or ends with a space, as few do"
    if "," in pattern.text:
        return "on: this is one type with a comma in it; several are a list: [a, b]"
    if found := re.search(r"[\^|()?]", pattern.text):
        said = f"on: {found[0]} stands for itself, since a type is no regular expression: "
        return said + "* is one segment, ** any number, several types are a list"
    return ""


def _of_condition(rule: Rule) -> Iterator[Problem]:
    when = rule.when
    if when is None:
        return
    if isinstance(when.tree, Literal) and not when.tree.value:
        said = "when: this never holds; enabled: false turns a rule off"
        yield _problem(when.place, said, when.text)
    for read in condition.reads(when.tree):
        word = read.path[0] if len(read.path) == 1 else ""
        if read.root == "data" and word in _WORDS and f"data.{word}" not in when.text:
            said = f"{word} is a field of the event's data here; did you mean {_WORDS[word]}?"
            yield _problem(when.place, said, when.text)


def _misspelt_roots(rule: Rule) -> Iterator[Problem]:
    """`{evnt.id}` is a field of the data; few mean that."""
    read = [
        (path.steps, effect.place, effect.template.text)
        for effect in rule.effects
        for path in effect.template.paths()
        if path.root == "data"
    ]
    if when := rule.when:
        found = condition.reads(when.tree)
        read += [(entry.path, when.place, when.text) for entry in found if entry.root == "data"]
    for steps, place, text in read:
        if meant := _root_meant(rule, steps):
            said = f"{steps[0]} is a field of the event's data here; did you mean {meant}?"
            yield _problem(place, said, text)


def _root_meant(rule: Rule, steps: Sequence[Step]) -> str:
    if len(steps) < 2 or not isinstance(steps[0], str) or steps[0] in ROOTS:
        return ""
    root = closest(steps[0], ROOTS, cutoff=0.75)
    captured = {name for pattern in rule.on for name, _ in pattern.captures}
    below = {"event": EVENT, "match": captured}.get(root)
    return root if below is None or steps[1] in below else ""


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
    """A slot's value has no wildcards: they are escaped."""
    glob = "".join(part if isinstance(part, str) else "x" for part in template.parts)
    if "[" in _CLASSES.sub("", glob):
        yield "the [ of this pattern is never closed; a [ that stands for itself is \\["
    elif _EXPRESSION.match(glob):
        said = "a pattern is a glob, no regular expression: * is any text, and ^ . $ stand for "
        yield f"{said}themselves"
    elif all(kind == "=" for kind, _ in globs.tokens(glob)):
        yield "without *, ? or [...] this is one key: under keys: it needs no sweep"
