"""The keys that the rules and the settings expect on one server."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec import Struct

from invalidator import layout
from invalidator.redisclient.server import Server
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


ASKED = [("INFO", "memory"), ("INFO", "stats"), ("DBSIZE",)]


class Facts(Struct, frozen=True):
    """Figures of all servers of a cluster; except for the keys, of all their databases."""

    keys: int
    used: int  # bytes
    peak: int
    limit: int  # 0: none
    policies: tuple[str, ...]  # maxmemory-policy
    hits: int
    misses: int
    evicted: int
    expired: int

    @property
    def hit_rate(self) -> float | None:
        """Return the share of lookups that hit since the servers started."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


async def facts(servers: Sequence[Server]) -> Facts:
    """Ask the servers. Raises Unavailable."""
    found, keys = [], 0
    for server in servers:
        memory, stats, size = await server.insist(ASKED)
        found.append(_fields(memory) | _fields(stats))
        keys += size

    def total(name: str) -> int:
        return sum(int(info.get(name, 0)) for info in found)

    return Facts(
        keys,
        total("used_memory"),
        total("used_memory_peak"),
        total("maxmemory"),
        tuple(sorted({info.get("maxmemory_policy", "unknown") for info in found})),
        total("keyspace_hits"),
        total("keyspace_misses"),
        total("evicted_keys"),
        total("expired_keys"),
    )


def _fields(info: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in info.decode(errors="replace").splitlines()]
    return {name: value for name, colon, value in lines if colon}
