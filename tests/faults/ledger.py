"""The events that a row sends, what each must make stale, and whether it did."""

import json
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

RULES = """\
version: 1
caches:
  ranked: {tags: [{layout: sorted-set, key: "ranks:{tag}"}]}
  stamped: {tags: [{layout: stamp}]}
rules:
  - name: order
    on: order.updated
    invalidate: {keys: ["order:{id}:single", "order:{id}:meta"]}
  - name: list
    on: list.changed
    invalidate: {patterns: ["list:{id}:*"]}
  - name: group
    on: group.changed
    invalidate: {tags: ["{id}"]}
  - name: ranking
    on: ranking.changed
    cache: ranked
    invalidate: {tags: ["{id}"]}
  - name: page
    on: page.changed
    cache: stamped
    invalidate: {tags: ["{id}"]}
  - name: catalog
    on: catalog.changed
    invalidate: {versions: ["of:{id}"]}
  - name: late
    on: late.changed
    repeat_after: 1s
    invalidate: {keys: ["late:{id}"]}
"""
REPEAT_AFTER = 1.0  # seconds, as the last rule says

ORDER, LIST, GROUP = "order.updated", "list.changed", "group.changed"
RANKING, PAGE, CATALOG, LATE = "ranking.changed", "page.changed", "catalog.changed", "late.changed"
RARE = (RANKING, PAGE, CATALOG, LATE)
# For daemons that live for less than a second: they never see a second pass, nor settle behind it.
# And for rows that lose events: nothing repeats what a rule for gaps has deleted.
RARE_AND_ONCE = (RANKING, PAGE, CATALOG)
RARE_EVERY = 20
VERSION = "cache:version:of:"
STAMP = "invalidator:stamp:"

_POISON = (
    "no JSON at all {n}",
    '{{"type": "order.updated", "data": {{"id": "{n}"',
    '{{"type": "order.updated", "data": {{"other": "{n}"}}}}',
    '{{"type": "order.updated", "data": {{"id": [{n}]}}}}',
    '["order.updated", {n}]',
    '{{"type": "order.updated", "data": {{"id": {n}.5}}}}',
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, and what must not be there in its old state once it is acknowledged.

    Keys, members of tags and stamps must be gone, a version must have risen.
    """

    raw: bytes
    keys: tuple[str, ...] = ()  # none: it can never work, and must be in the dead letters
    kind: str = ""  # the event's type
    tag: str = ""  # the key that holds the names of `keys`


@dataclass
class Ledger:
    """All events of a row."""

    events: int
    rng: random.Random
    poison: float = 0.0  # the share of events that can never work
    swept_every: int = 50  # every so many names a pattern
    tagged_every: int = 25  # and every so many a tag; the others name keys
    rare: Sequence[str] = RARE  # types that share every 20th event
    members: int = 3  # keys that a pattern matches, and that a tag holds
    most_members: int = 2_500  # of the first tag of each layout: more than one page of it
    entries: list[Entry] = field(init=False)

    def __post_init__(self) -> None:
        self._seen: set[str] = set()
        self.entries = [
            _poisoned(n, self.rng) if self.rng.random() < self.poison else self._entry(n)
            for n in range(self.events)
        ]

    def _entry(self, number: int) -> Entry:
        kind = self._kind(number)
        raw = json.dumps({"type": kind, "data": {"id": str(number)}}).encode()
        return Entry(raw, self._names(kind, number), kind, _tag(kind, number))

    def _kind(self, number: int) -> str:
        if number % self.swept_every == self.swept_every - 1:
            return LIST
        if number % self.tagged_every == self.tagged_every - 1:
            return GROUP
        if self.rare and number % RARE_EVERY == RARE_EVERY // 2:
            return self.rare[number // RARE_EVERY % len(self.rare)]
        return ORDER

    def _names(self, kind: str, number: int) -> tuple[str, ...]:
        match kind:
            case "list.changed":
                return tuple(f"list:{number}:{page}" for page in range(self.members))
            case "group.changed" | "ranking.changed":
                stem = "view" if kind == GROUP else "rank"
                return tuple(f"{stem}:{number}:{part}" for part in range(self._size(kind)))
            case "page.changed":
                return (f"{STAMP}{number}",)
            case "catalog.changed":
                return (f"{VERSION}{number}",)
            case "late.changed":
                return (f"late:{number}",)
            case _:
                return (f"order:{number}:single", f"order:{number}:meta")

    def _size(self, kind: str) -> int:
        first = kind not in self._seen
        self._seen.add(kind)
        return max(self.members, self.most_members) if first else self.members

    @property
    def keys(self) -> Iterator[str]:
        return (key for entry in self.entries for key in entry.keys)

    def of(self, kind: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == kind]

    def tags(self, kind: str) -> Mapping[str, Sequence[str]]:
        return {entry.tag: entry.keys for entry in self.of(kind)}

    @property
    def poisoned(self) -> set[bytes]:
        return {entry.raw for entry in self.entries if not entry.keys}

    def gap_rules(self) -> str:
        """Return rules for rows that lose events: after a gap, everything counts as stale."""
        versions = [key.removeprefix("cache:version:") for e in self.of(CATALOG) for key in e.keys]
        stamps = [key.removeprefix(STAMP) for entry in self.of(PAGE) for key in entry.keys]
        return f"""\
  - name: missed
    on: invalidator.gap
    when: cause != "start"
    invalidate: {{patterns: ["order:*", "list:*", "view:*", "rank:*"], versions: {_list(versions)}}}
  - name: missed-pages
    on: invalidator.gap
    when: cause != "start"
    cache: stamped
    invalidate: {{tags: {_list(stamps)}}}
"""

    def stale(self, there: Collection[bytes], dead: Collection[bytes] = ()) -> list[str]:
        """Return the names in their old state that no dead letter tells of."""
        told = (entry for entry in self.entries if entry.raw not in dead)
        return [key for entry in told for key in entry.keys if key.encode() in there]

    def lost(self, there: Collection[bytes], dead: Collection[bytes]) -> list[Entry]:
        """Return the events that were neither applied nor put into the dead letters."""
        return [
            entry
            for entry in self.entries
            if entry.raw not in dead
            and (not entry.keys or any(key.encode() in there for key in entry.keys))
        ]


def _list(names: Sequence[str]) -> str:
    return json.dumps([*names])


def _tag(kind: str, number: int) -> str:
    return {GROUP: f"tag:{number}", RANKING: f"ranks:{number}"}.get(kind, "")


def _poisoned(number: int, rng: random.Random) -> Entry:
    return Entry(rng.choice(_POISON).format(n=number).encode())
