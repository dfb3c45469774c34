"""Mistakes in rules for caches at the edge: each target has its own kinds of names and fields."""

from collections.abc import Iterator

from msgspec.structs import replace

from invalidator.rules import globs
from invalidator.rules.rule import EDGE_REPEAT_AFTER, TARGETS, Cache, Effect, Rule

COMMON = ("target", "prefix")


def repeated(rule: Rule, cache: Cache) -> Rule:
    """Return the rule with a second pass where it does not say: a page that was rendered before
    the purge may arrive after it."""
    if cache.at_edge and rule.repeat_after is None:
        return replace(rule, repeat_after=EDGE_REPEAT_AFTER)
    return rule


def foreign_fields(cache: Cache) -> Iterator[str]:
    """Yield what is wrong with the fields of a cache: some belong to other targets."""
    target = TARGETS[cache.target]
    for name in cache.written:
        if name not in (*COMMON, *target.fields):
            owners = ", ".join(word for word, other in TARGETS.items() if name in other.fields)
            yield f"{name}: a cache with target: {cache.target} has none; it is for {owners}"
    if cache.bans and (cache.soft or cache.header):
        other = "soft" if cache.soft else "header"
        yield f"{other}: is for tags by xkey, and bans: true replaces that"


def cannot(rule: Rule, cache: Cache) -> Iterator[tuple[Effect, str]]:
    """Yield the names of a rule that its cache at the edge cannot forget, with the reason."""
    target = TARGETS[cache.target]
    for effect in (*rule.effects, *rule.on_reject):
        if effect.kind not in target.kinds:
            kinds = ", ".join(target.kinds)
            yield effect, f"target: {cache.target} has no {effect.kind}; it has {kinds}"
        elif effect.kind in ("keys", "patterns"):
            yield from ((effect, said) for said in _of_url(effect, rule, cache))


def _of_url(effect: Effect, rule: Rule, cache: Cache) -> Iterator[str]:
    target = TARGETS[cache.target]
    glob = effect.kind == "patterns"
    names = globs.of_template(effect.template, cache.prefix, glob=glob)
    start = globs.literal_of(names)
    if not start.startswith(target.begins):
        wanted = " or ".join(filter(None, target.begins))
        yield f"target: {cache.target} takes URLs: with the prefix, it must begin with {wanted}"
    elif glob and target.prefixes and not _is_prefix(effect):
        yield f"target: {cache.target} purges by prefix: end with one *, without other wildcards"
    elif glob and not (rule.allow_broad or _path(start)):
        said = "a pattern begins with a literal path, or it could reach every page; "
        yield said + "allow_broad: true on the rule permits it"


def _path(start: str) -> str:
    """Return the path with which all names begin, of a URL or a name of another form."""
    where = start.partition("://")[2]
    return (where.partition("/")[2] if where else start).strip("/")


def _is_prefix(effect: Effect) -> bool:
    """Return whether a pattern is a text of its own and one * at the end."""
    parts = ["x" if not isinstance(part, str) else part for part in effect.template.parts]
    kinds = [kind for kind, _ in globs.tokens("".join(parts))]
    return kinds[-1:] == [globs.ANY] and set(kinds[:-1]) <= {"="}
