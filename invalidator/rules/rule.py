"""A rules file as frozen data."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from invalidator import layout
from invalidator.model import DEFAULT_CACHE, KINDS, Kind
from invalidator.rules.condition import Node as Tree
from invalidator.rules.plan.event_types import Pattern
from invalidator.templates import Template

MAX_KEYS: Final = 10_000  # names that one rule may give for one event, unless it says otherwise

TagLayout = Literal["set", "sorted-set", "stamp"]
LAYOUTS: Final[tuple[TagLayout, ...]] = ("set", "sorted-set", "stamp")


class Target(Struct, frozen=True):
    """A sort of cache, as the rules may write it."""

    kinds: tuple[Kind, ...]  # that it can forget
    fields: tuple[str, ...] = ()  # of a cache, besides its target and prefix
    begins: tuple[str, ...] = ("",)  # keys and patterns begin so, with the prefix
    prefixes: bool = False  # patterns are a literal text and one * at the end


URLS: Final = ("https://", "http://")
TARGETS: Final[dict[str, Target]] = {
    "redis": Target(KINDS, ("tags", "versions", "protect")),
    "varnish": Target(("keys", "patterns", "tags"), ("soft", "header", "bans"), (*URLS, "/")),
    "fastly": Target(("keys", "tags"), ("soft",), URLS),
    "cloudflare": Target(("keys", "patterns", "tags"), (), URLS, prefixes=True),
    "http": Target(KINDS),
}
EDGE_REPEAT_AFTER: Final = 5.0  # seconds, where a rule for the edge does not say
Members = Literal["full", "relative"]
MEMBERS: Final[tuple[Members, ...]] = ("full", "relative")
Values = Literal["verbatim", "segment"]
VALUES: Final[tuple[Values, ...]] = ("verbatim", "segment")


class Place(Struct, frozen=True):
    """A position in the files."""

    file: str
    line: int
    column: int


class Effect(Struct, frozen=True):
    """One template of names that a rule invalidates in a cache."""

    kind: Kind
    template: Template
    place: Place


class Condition(Struct, frozen=True):
    text: str
    tree: Tree
    place: Place


class Verify(Struct, frozen=True):
    """Says how entries are compared after an event, with a field of it or with a source of truth.

    Fields are paths in JSON (`order.version`). An entry is stale where its field is older than
    the event's, or other than the truth's.
    """

    place: Place
    cached: tuple[str, ...] = ()  # fields of the cached value; none: the entry's row version
    event: tuple[str, ...] = ()  # fields of the event's data
    truth: tuple[str, ...] = ()  # fields of what the URL or the query returns
    url: Template | None = None
    sql: Template | None = None


class Rule(Struct, frozen=True):
    on: tuple[Pattern, ...]
    effects: tuple[Effect, ...]
    place: Place
    name: str = ""  # only of one that is reported
    when: Condition | None = None
    on_error: Literal["apply", "skip", "reject"] = "apply"  # where the condition fails
    repeat_after: float | None = None  # seconds; None: not written, 0: never
    cache: str = DEFAULT_CACHE
    cache_place: Place | None = None  # None: not written
    sources: tuple[str, ...] = ()  # the origins that it is limited to; `*` is any text; none: all
    on_reject: tuple[Effect, ...] = ()  # without fields: they can always be applied
    verify: Verify | None = None
    max_keys: int = MAX_KEYS
    allow_broad: bool = False
    enabled: bool = True
    description: str = ""
    owner: str = ""

    def in_segments(self) -> "Rule":
        """Return the rule with each value kept within one segment of its names."""
        effects = (replace(each, template=each.template.in_segments()) for each in self.effects)
        return replace(self, effects=tuple(effects))


class Layout(Struct, frozen=True):
    """One way in which a cache stores its tags."""

    kind: TagLayout
    key: str  # of a tag, absolute, with {tag} exactly once
    members: Members = "full"  # whether members are whole keys, or lack the cache's prefix
    place: Place | None = None


DEFAULT_KEYS: Final[dict[TagLayout, str]] = {
    "set": layout.TAG_SET,
    "sorted-set": layout.TAG_SET,
    "stamp": layout.TAG_STAMP,
}
DEFAULT_LAYOUTS: Final = (Layout("set", layout.TAG_SET),)


class Cache(Struct, frozen=True):
    """One cache: on Redis, the keys of its entries, tags and version counters."""

    name: str = DEFAULT_CACHE
    prefix: str = ""  # before keys and patterns
    layouts: tuple[Layout, ...] = DEFAULT_LAYOUTS
    version: str = layout.VERSION  # the key of a counter, absolute, with {name} exactly once
    protect: tuple[str, ...] = ()  # globs that no sweep ever deletes
    place: Place | None = None  # None: not written
    tagged: bool = False  # the rules say how it stores tags
    target: str = "redis"
    soft: bool = False  # entries become stale instead of disappearing
    header: str = ""  # that carries tags to Varnish; empty: the usual one
    bans: bool = False  # tags are bans, for a Varnish without xkey
    written: tuple[str, ...] = ()  # the fields that are there

    @property
    def at_edge(self) -> bool:
        """Return whether it is in front of the services, and not a Redis."""
        return self.target != "redis"


class Test(Struct, frozen=True):
    """An event, and exactly what it must invalidate."""

    __test__ = False  # not one of pytest's

    name: str
    place: Place
    event: Mapping[str, Any]
    names: Mapping[Kind, frozenset[str]] = field(
        default_factory=lambda: {kind: frozenset() for kind in KINDS}
    )
    rejected: Mapping[str, Place] = field(default_factory=dict)  # rules
    source: str = ""
    key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
