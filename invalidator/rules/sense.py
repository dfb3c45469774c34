"""What must hold across a whole rule set: mistakes that no single field shows."""

from collections.abc import Iterator, Sequence
from typing import Final

from invalidator import layout
from invalidator.errors import Problem
from invalidator.model import DEFAULT_CACHE
from invalidator.rules import condition, globs
from invalidator.rules.build import Parts
from invalidator.rules.schema import Cache, Effect, Place, Rule, Test
from invalidator.rules.template import Template
from invalidator.rules.values import escape
from invalidator.rules.words import nearest

CHANGES: Final = ("created", "updated", "deleted", "read", "truncated")


def problems(parts: Sequence[Parts]) -> list[Problem]:
    """Every mistake of a rule set whose files are sound one by one."""
    rules = [rule for part in parts for rule in part.rules]
    caches = [cache for part in parts for cache in part.caches]
    tests = [test for part in parts for test in part.tests]
    known = {DEFAULT_CACHE: Cache(), **{cache.name: cache for cache in caches}}
    found = [
        *_twin_rules(rules),
        *_twin_caches(caches),
        *_envelopes(parts),
        *_layouts(known),
        *_rejectors(rules, tests),
    ]
    for rule in rules:
        cache = known.get(rule.cache)
        if cache is None:
            said = f"no cache is called {rule.cache}{nearest(rule.cache, known)}"
            found.append(_problem(rule.place, said, rule.cache))
        else:
            found.extend(_patterns(rule, cache))
        found.extend(_needs_before(rule, tests))
    return found


def _problem(place: Place | None, message: str, text: str = "") -> Problem:
    if place is None:
        return Problem("", 0, 0, message, text)
    return Problem(place.file, place.line, place.column, message, text)


def _twin_rules(rules: Sequence[Rule]) -> Iterator[Problem]:
    first: dict[str, Rule] = {}
    for rule in rules:
        other = first.setdefault(rule.name, rule)
        if other is not rule:
            where = f"{other.place.file}:{other.place.line}"
            yield _problem(rule.place, f"another rule has this name: {where}", rule.name)


def _twin_caches(caches: Sequence[Cache]) -> Iterator[Problem]:
    first: dict[str, Cache] = {}
    for cache in caches:
        other = first.setdefault(cache.name, cache)
        if other is not cache and other.place:
            where = f"{other.place.file}:{other.place.line}"
            yield _problem(cache.place, f"this cache is described already: {where}", cache.name)


def _envelopes(parts: Sequence[Parts]) -> Iterator[Problem]:
    general = [part for part in parts if part.envelope]
    for part in general[1:]:
        place = general[0].envelope_place
        where = f"{place.file}:{place.line}" if place else ""
        said = f"one envelope holds for all files, and {where} has it; settings for one source "
        yield _problem(part.envelope_place, said + "stand under envelope: sources:")
    seen: set[str] = set()
    for part in parts:
        for name, _ in part.sources:
            if name in seen:
                said = f"the envelope of {name} is described already"
                yield _problem(part.envelope_place, said, name)
            seen.add(name)


def _layouts(caches: dict[str, Cache]) -> Iterator[Problem]:
    """Equal keys of two layouts: a tag set and a stamp cannot share one."""
    for cache in caches.values():
        owners: dict[str, str] = {}
        for name, key in _keys(cache):
            if key in owners:
                said = f"{owners[key]} and {name} share the key {key}: each needs its own"
                yield _problem(cache.place, said, key)
            elif not globs.literal_start(key):
                said = f"the key of {name} must begin with a literal text, such as tag:"
                yield _problem(cache.place, said, key)
            owners.setdefault(key, name)


def _keys(cache: Cache) -> list[tuple[str, str]]:
    """Each layout and its key, as a glob."""
    tags = [(f"tags kept as {entry.kind}", _glob(entry.key, "tag")) for entry in cache.layouts]
    return [*tags, ("version counters", _glob(cache.version, "name"))]


def _glob(template: str, slot: str) -> str:
    """All keys that a template of a tag or version may name."""
    return "*".join(map(escape, template.split(f"{{{slot}}}")))


def protected(cache: Cache) -> list[tuple[str, list[globs.Token]]]:
    """What no sweep ever touches: a name for people, and the glob."""
    kept = [("invalidator's own keys", f"{layout.OWN}*")]
    kept += _keys(cache)
    kept += [(f"protect: {glob}", glob) for glob in cache.protect]
    return [(name, globs.tokens(glob)) for name, glob in kept]


def _patterns(rule: Rule, cache: Cache) -> Iterator[Problem]:
    if rule.allow_broad:
        return
    kept = protected(cache)
    for effect in rule.effects:
        if effect.kind != "patterns":
            continue
        if not _begins(effect.template):
            said = (
                "a pattern begins with a literal text, or it could reach every key; "
                "allow_broad: true on the rule permits it"
            )
            yield _problem(effect.place, said, effect.template.text)
            continue
        names = globs.of_template(effect.template, cache.prefix, glob=True)
        for name, glob in kept:
            if globs.meet(names, glob):
                said = f"the pattern could match what is protected ({name}); sweeps spare it, "
                said += "so write it narrower, or allow_broad: true on the rule"
                yield _problem(effect.place, said, effect.template.text)
                break


def _begins(template: Template) -> bool:
    first = template.parts[0] if template.parts else ""
    return isinstance(first, str) and globs.literal_start(first) != ""


def _needs_before(rule: Rule, tests: Sequence[Test]) -> Iterator[Problem]:
    """A rule on the old row, for events that have none."""
    place, text = _reads_before(rule)
    if place is None or any(_could_change(pattern.tokens[-1]) for pattern in rule.on):
        return
    if any(_shows_before(test) for test in tests if _named(rule, test)):
        return
    said = (
        "a plain event has no row before: only change events (of types such as users.updated) "
        "do; where yours carry before:, show it by a test of this rule"
    )
    yield _problem(place, said, text)


def _reads_before(rule: Rule) -> tuple[Place | None, str]:
    effects: list[Effect] = [*rule.effects]
    for effect in effects:
        if any(path.root == "before" for path in effect.template.paths()):
            return effect.place, effect.template.text
    when = rule.when
    if when and any(read.root == "before" for read in condition.reads(when.tree)):
        return when.place, when.text
    return None, ""


def _could_change(token: str) -> bool:
    word = token.lstrip(".:")
    return word in CHANGES or word.startswith(("*", "{"))


def _named(rule: Rule, test: Test) -> bool:
    return any(test.event.get("type") == pattern.text for pattern in rule.on)


def _shows_before(test: Test) -> bool:
    data = test.event.get("data")
    return "before" in test.event or (isinstance(data, dict) and "before" in data)


def _rejectors(rules: Sequence[Rule], tests: Sequence[Test]) -> Iterator[Problem]:
    names = {rule.name for rule in rules}
    for test in tests:
        for name in sorted(test.rejected - names):
            said = f"no rule is called {name}{nearest(name, names)}"
            yield _problem(test.place, said, name)
