"""Mistakes that only show across a whole rule set, not in a single field."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from invalidator import layout
from invalidator.errors import Problem
from invalidator.model import DEFAULT_CACHE
from invalidator.rules import condition, globs
from invalidator.rules.envelope import Envelope
from invalidator.rules.envelope.reading import type_of
from invalidator.rules.file.build import Parts
from invalidator.rules.file.edge import cannot, foreign_fields
from invalidator.rules.rule import Cache, Place, Rule, Test
from invalidator.runtime.text import nearest, visible
from invalidator.templates import Template
from invalidator.templates.values import escape

ROWS: Final = ("before", "after")
CHANGES: Final = ("created", "updated", "deleted", "read", "truncated")


def validate(parts: Sequence[Parts]) -> list[Problem]:
    """Return every mistake that shows across files; those of one field are reported already."""
    rules = [rule for part in parts for rule in part.rules]
    caches = [cache for part in parts for cache in part.caches]
    tests = [test for part in parts for test in part.tests]
    known = {DEFAULT_CACHE: Cache(), **{cache.name: cache for cache in caches}}
    found = [
        *_twins(rules, caches),
        *_envelopes(parts),
        *_layouts(known, rules),
        *_rejectors(rules, tests),
        *(
            problem(cache.place, said, cache.name)
            for cache in caches
            for said in foreign_fields(cache)
        ),
    ]
    for rule in rules:
        cache = known.get(rule.cache)
        if cache is None:
            said = f"no cache is called {rule.cache}{nearest(rule.cache, known)}"
            found.append(problem(rule.cache_place, said, rule.cache))
        elif cache.at_edge:
            found.extend(problem(e.place, said, e.template.text) for e, said in cannot(rule, cache))
        else:
            found.extend(_patterns(rule, cache))
            found.extend(_own_keys(rule, cache))
        found.extend(_needs_row(rule, tests))
    return found


def problem(place: Place | None, message: str, text: str = "") -> Problem:
    if place is None:
        return Problem("", 0, 0, message, text)
    return Problem(place.file, place.line, place.column, message, visible(text))


def _twins(rules: Sequence[Rule], caches: Sequence[Cache]) -> Iterator[Problem]:
    """Yield rules and caches whose name another one has already."""
    first: dict[tuple[str, str], Rule | Cache] = {}
    entries: list[Rule | Cache] = [*(rule for rule in rules if rule.name), *caches]
    for entry in entries:
        what = "rule" if isinstance(entry, Rule) else "cache"
        other = first.setdefault((what, entry.name), entry)
        if other is not entry and other.place:
            said = f"another {what} has this name: {other.place.file}:{other.place.line}"
            yield problem(entry.place, said, entry.name)


def _envelopes(parts: Sequence[Parts]) -> Iterator[Problem]:
    general = [part for part in parts if part.envelope]
    for part in general[1:]:
        place = general[0].envelope_place
        where = f"{place.file}:{place.line}" if place else ""
        said = f"one envelope holds for all files, and {where} has it; settings for one source "
        yield problem(part.envelope_place, said + "stand under envelope: sources:")
    seen: set[str] = set()
    for part in parts:
        for name, _ in part.sources:
            if name in seen:
                said = f"the envelope of {name} is already described"
                yield problem(part.envelope_place, said, name)
            seen.add(name)


class _Kept(Struct, frozen=True):
    """One template of the keys under which a cache keeps tags or counters."""

    what: str  # for people
    template: str
    glob: str  # every key that it may name
    place: Place | None
    shared_by: tuple[str, ...]  # two caches with equal values may share the key
    cache: str


def _kept(cache: Cache) -> list[_Kept]:
    tags = [
        _Kept(
            f"tags kept as {entry.kind}",
            entry.key,
            _glob(entry.key, "tag"),
            entry.place or cache.place,
            (entry.kind, cache.prefix if entry.members == "relative" else ""),
            cache.name,
        )
        for entry in cache.layouts
    ]
    version, name = cache.version, cache.name
    counters = _Kept("version counters", version, _glob(version, "name"), cache.place, (), name)
    return [*tags, counters]


def _layouts(caches: dict[str, Cache], rules: Sequence[Rule]) -> Iterator[Problem]:
    """Yield keys that are used in two ways: a tag set and a stamp cannot share one."""
    tagging = {rule.cache for rule in rules if any(entry.kind == "tags" for entry in rule.effects)}
    owners: dict[str, _Kept] = {}
    for cache in caches.values():
        for kept in () if cache.at_edge else _kept(cache):
            if kept.shared_by and not cache.tagged and cache.name not in tagging:
                continue  # a default layout that nobody uses
            other = owners.setdefault(kept.glob, kept)
            same = other.cache == kept.cache
            if other is not kept and (same or other.shared_by != kept.shared_by):
                yield problem(kept.place, _share(kept, other), kept.template)
            elif not globs.literal_start(kept.glob):
                said = f"the key of {kept.what} must begin with a literal text, such as tag:"
                yield problem(kept.place, said, kept.template)


def _share(kept: _Kept, other: _Kept) -> str:
    where = "" if other.cache == kept.cache else f" of the cache {other.cache}"
    return f"{other.what}{where} and {kept.what} share this key: each needs its own"


def _glob(template: str, slot: str) -> str:
    """Return a glob of all keys that a template of a tag or version may name."""
    return "*".join(map(escape, template.split(f"{{{slot}}}")))


def protected(cache: Cache) -> list[tuple[str, list[globs.Token]]]:
    """Return what no sweep ever deletes: a name for people, and the glob."""
    kept = [("invalidator's own keys", f"{layout.OWN}*")]
    kept += [(entry.what, entry.glob) for entry in _kept(cache)]
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
            yield problem(effect.place, said, effect.template.text)
            continue
        names = globs.of_template(effect.template, cache.prefix, glob=True)
        for name, glob in kept:
            if globs.meet(names, glob):
                said = f"the pattern could match what is protected ({name}); sweeps spare it, "
                said += "so write it narrower, or allow_broad: true on the rule"
                yield problem(effect.place, said, effect.template.text)
                break


def _own_keys(rule: Rule, cache: Cache) -> Iterator[Problem]:
    for effect in (*rule.effects, *rule.on_reject):
        names = globs.of_template(effect.template, cache.prefix, glob=False)
        if effect.kind == "keys" and globs.literal_of(names).startswith(layout.OWN):
            said = f"what begins with {layout.OWN} is invalidator's own; for a stamp write tags:"
            yield problem(effect.place, said, effect.template.text)


def _begins(template: Template) -> bool:
    first = template.parts[0] if template.parts else ""
    return isinstance(first, str) and globs.literal_start(first) != ""


def _needs_row(rule: Rule, tests: Sequence[Test]) -> Iterator[Problem]:
    """Yield where a rule reads the old or the new row of events that have none."""
    if not rule.on or any(_could_change(pattern.tokens[-1]) for pattern in rule.on):
        return
    for root, place, text in _reads_rows(rule):
        if not any(_shows(root, test) for test in tests if _named(rule, test)):
            said = (
                f"a plain event has no row {root}: only change events (of types such as "
                f"users.updated) do; where yours carry {root}:, show it by a test of this rule"
            )
            yield problem(place, said, text)
            return


def _reads_rows(rule: Rule) -> Iterator[tuple[str, Place, str]]:
    for effect in rule.effects:
        for path in effect.template.paths():
            if path.root in ROWS:
                yield path.root, effect.place, effect.template.text
    if rule.when:
        for read in condition.reads(rule.when.tree):
            if read.root in ROWS:
                yield read.root, rule.when.place, rule.when.text


def _could_change(token: str) -> bool:
    word = token.lstrip(".:")
    return word in CHANGES or word.startswith(("*", "{"))


def _named(rule: Rule, test: Test) -> bool:
    """Return whether the type of a test's event is one that the rule names literally."""
    kind = type_of(dict(test.event), Envelope().types) or test.source
    return any(kind == pattern.text for pattern in rule.on)


def _shows(root: str, test: Test) -> bool:
    data = test.event.get("data")
    return root in test.event or (isinstance(data, dict) and root in data)


def _rejectors(rules: Sequence[Rule], tests: Sequence[Test]) -> Iterator[Problem]:
    names = {rule.name for rule in rules}
    for test in tests if "" not in names else ():
        for name, place in test.rejected.items():
            if name not in names:
                said = f"no rule is called {name}{nearest(name, names)}"
                yield problem(place, said, name)
