"""Backwards: which rules and templates could ever delete a key."""

from collections.abc import Iterator
from dataclasses import dataclass

from invalidator.model import Kind
from invalidator.rules import globs
from invalidator.rules.ruleset import RuleSet
from invalidator.rules.sense import protected


@dataclass(frozen=True, slots=True)
class Reach:
    rule: str
    kind: Kind
    template: str
    on: tuple[str, ...]


def reaching(ruleset: RuleSet, key: str) -> list[Reach]:
    """The keys and patterns that name this key for some event."""
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
                found.append(Reach(rule.name, effect.kind, effect.template.text, on))
    return found


def tagging(ruleset: RuleSet) -> list[Reach]:
    """The tags that rules invalidate: these delete whatever key carries them."""
    return [
        Reach(rule.name, "tags", effect.template.text, tuple(entry.text for entry in rule.on))
        for rule in ruleset.rules
        if rule.enabled
        for effect in rule.effects
        if effect.kind == "tags"
    ]


def protections(ruleset: RuleSet, key: str) -> Iterator[str]:
    """Why sweeps spare this key."""
    wanted: list[globs.Token] = [("=", char) for char in key]
    for cache in ruleset.caches.values():
        for name, glob in protected(cache):
            if globs.meet(glob, wanted):
                yield f"{name} of the cache {cache.name}"
