"""Search backwards: which rules and templates could ever delete a key."""

import re
from collections.abc import Callable, Iterator

from msgspec import Struct

from invalidator.model import Kind
from invalidator.rules import globs
from invalidator.rules.file.validate import protected
from invalidator.rules.rule import Cache, Rule
from invalidator.rules.ruleset import RuleSet
from invalidator.templates import Template


class Reach(Struct, frozen=True):
    rule: str
    kind: Kind
    template: str
    on: tuple[str, ...]
    cache: str


def reaching(ruleset: RuleSet, key: str) -> list[Reach]:
    """Return the keys and patterns that name this key for some event."""
    wanted: list[globs.Token] = [("=", char) for char in key]
    found = []
    for rule in ruleset.rules:
        prefix = ruleset.caches[rule.cache].prefix
        for effect in (*rule.effects, *rule.on_reject):
            if effect.kind not in ("keys", "patterns") or not rule.enabled:
                continue
            glob = effect.kind == "patterns"
            if globs.meet(globs.of_template(effect.template, prefix, glob=glob), wanted):
                on = tuple(pattern.text for pattern in rule.on)
                found.append(Reach(rule.name, effect.kind, effect.template.text, on, rule.cache))
    return found


def tagging(ruleset: RuleSet) -> list[Reach]:
    """Return the tags that rules invalidate: they delete any key of their cache that has them."""
    return [
        Reach(
            rule.name,
            "tags",
            effect.template.text,
            tuple(entry.text for entry in rule.on),
            rule.cache,
        )
        for rule in ruleset.rules
        if rule.enabled
        for effect in rule.effects
        if effect.kind == "tags"
    ]


def could_name(rule: Rule, cache: Cache) -> Callable[[Kind, str], bool]:
    """Return a test of whether a rule could have given a name of a plan or an announcement."""
    literal: dict[Kind, list[re.Pattern[str]]] = {}
    patterns = []
    for effect in (*rule.effects, *rule.on_reject):
        if effect.kind == "patterns":
            patterns.append(globs.of_template(effect.template, cache.prefix, glob=True))
        else:
            prefix = cache.prefix if effect.kind == "keys" else ""
            literal.setdefault(effect.kind, []).append(_expression(effect.template, prefix))

    def could(kind: Kind, name: str) -> bool:
        if kind == "patterns":
            return any(globs.meet(globs.tokens(name), wanted) for wanted in patterns)
        return any(found.fullmatch(name) for found in literal.get(kind, ()))

    return could


def _expression(template: Template, prefix: str) -> re.Pattern[str]:
    parts = (re.escape(part) if isinstance(part, str) else ".*" for part in template.parts)
    return re.compile(re.escape(prefix) + "".join(parts), re.DOTALL)


def protections(ruleset: RuleSet, key: str) -> Iterator[str]:
    """Yield the reasons why sweeps spare this key."""
    wanted: list[globs.Token] = [("=", char) for char in key]
    for cache in ruleset.caches.values():
        for name, glob in () if cache.at_edge else protected(cache):
            if globs.meet(glob, wanted):
                yield f"{name} of the cache {cache.name}"
