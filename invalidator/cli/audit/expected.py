"""The keys that the rules and the settings expect on one server."""

from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct

from invalidator import layout
from invalidator.rules.rule import Cache, Effect, Rule
from invalidator.rules.ruleset import RuleSet
from invalidator.targets.redis.apply import layouts, spared
from invalidator.targets.redis.glob import escape
from invalidator.targets.redis.patterns import Matcher
from invalidator.targets.redis.tags import Layout
from invalidator.templates import Template


class TagKeys(Struct, frozen=True):
    """The tag sets of one layout: all of them, and those that a rule invalidates."""

    layout: Layout
    all: Matcher
    reached: Matcher


class Expected(Struct, frozen=True):
    named: Matcher  # keys that a rule's key or pattern could name
    spared: Matcher  # not cache entries: our own keys, tags, versions, streams, `protect:`
    tags: tuple[TagKeys, ...]
    unseen: tuple[str, ...]  # rules that reach entries whose names do not show it
    kept: tuple[str, ...]  # what must not be evicted here, as text

    @classmethod
    def of(
        cls,
        ruleset: RuleSet,
        caches: Collection[str],
        *,
        streams: Iterable[str] = (),
        letters: bool = False,
    ) -> "Expected":
        """Return what is expected on the server of these caches, streams and dead letters."""
        here = {name: ruleset.caches[name] for name in caches}
        rules = [rule for rule in ruleset.rules if rule.enabled and rule.cache in here]
        streams = list(streams)
        globs = [escape(stream.encode()).decode() for stream in streams]
        return cls(
            Matcher(glob for rule in rules for glob in _names(rule, here[rule.cache])),
            spared(here.values(), globs),
            tuple(_tags(rules, here)),
            tuple(sorted({rule.name for rule in rules if _unseen(rule, here[rule.cache])})),
            tuple(_kept(rules, here, streams, letters=letters)),
        )


def _effects(rule: Rule) -> tuple[Effect, ...]:
    return (*rule.effects, *rule.on_reject)


def _names(rule: Rule, cache: Cache) -> Iterator[bytes]:
    for effect in _effects(rule):
        if effect.kind in ("keys", "patterns"):
            own = _glob(effect.template, literal=effect.kind == "keys")
            yield escape(cache.prefix.encode()) + own


def _glob(template: Template, *, literal: bool = True) -> bytes:
    """Return a glob in which each slot is a star; `literal` escapes the text around them."""
    parts = []
    for part in template.parts:
        if not isinstance(part, str):
            parts.append(b"*")
        else:
            parts.append(escape(part.encode()) if literal else part.encode())
    return b"".join(parts)


def _tags(rules: list[Rule], caches: dict[str, Cache]) -> Iterator[TagKeys]:
    for name, cache in caches.items():
        templates = [
            _glob(effect.template)
            for rule in rules
            if rule.cache == name
            for effect in _effects(rule)
            if effect.kind == "tags"
        ]
        for kept in layouts(cache):
            if kept.kind != "stamp":
                yield TagKeys(
                    kept,
                    Matcher([_tag_key(kept, b"*")]),
                    Matcher(_tag_key(kept, template) for template in templates),
                )


def _tag_key(kept: Layout, tag: bytes) -> bytes:
    begin, _, end = kept.key.partition("{tag}")
    return escape(begin.encode()) + tag + escape(end.encode())


def _unseen(rule: Rule, cache: Cache) -> bool:
    stamped = any(kept.kind == "stamp" for kept in cache.layouts)
    return any(
        effect.kind == "versions" or (effect.kind == "tags" and stamped)
        for effect in _effects(rule)
    )


def _kept(
    rules: list[Rule], caches: dict[str, Cache], streams: list[str], *, letters: bool
) -> Iterator[str]:
    kinds = {(effect.kind, rule.cache) for rule in rules for effect in _effects(rule)}
    if any(kind == "versions" for kind, _ in kinds):
        yield "versions"
    sets = {name for name, cache in caches.items() if any(t.kind != "stamp" for t in cache.layouts)}
    if any(kind == "tags" and cache in sets for kind, cache in kinds):
        yield "tag sets"
    if streams:
        yield f"the streams {', '.join(sorted(streams))}"
    if letters:
        yield f"dead letters ({layout.DEAD_LETTERS})"
