"""What was sent, what each event must kill, and whether it did."""

import json
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

RULES = """\
version: 1
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
"""
# For rows that lose events before they can be read: whoever hears of a gap counts all as stale.
GAP_RULE = """\
  - name: missed
    on: invalidator.gap
    when: cause != "start"
    invalidate: {patterns: ["order:*", "list:*", "view:*"]}
"""
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
    """An event, and the keys that must be gone once it is acknowledged."""

    raw: bytes
    keys: tuple[str, ...] = ()  # none: it can never work, and must be in the dead letters
    tag: str = ""  # whose members the keys are


@dataclass
class Ledger:
    """All events of a row."""

    events: int
    rng: random.Random
    poison: float = 0.0  # the share of events that can never work
    swept_every: int = 50  # every so many names a pattern
    tagged_every: int = 25  # and every so many a tag; the others name keys
    members: int = 3  # keys that a pattern matches, and that a tag holds
    entries: list[Entry] = field(init=False)

    def __post_init__(self) -> None:
        self.entries = [
            _poisoned(n, self.rng) if self.rng.random() < self.poison else self._entry(n)
            for n in range(self.events)
        ]

    def _entry(self, number: int) -> Entry:
        if number % self.swept_every == self.swept_every - 1:
            keys = tuple(f"list:{number}:{page}" for page in range(self.members))
            return Entry(_event("list.changed", number), keys)
        if number % self.tagged_every == self.tagged_every - 1:
            keys = tuple(f"view:{number}:{part}" for part in range(self.members))
            return Entry(_event("group.changed", number), keys, str(number))
        keys = (f"order:{number}:single", f"order:{number}:meta")
        return Entry(_event("order.updated", number), keys)

    @property
    def keys(self) -> Iterator[str]:
        return (key for entry in self.entries for key in entry.keys)

    @property
    def tags(self) -> dict[str, Sequence[str]]:
        return {f"tag:{entry.tag}": entry.keys for entry in self.entries if entry.tag}

    @property
    def poisoned(self) -> set[bytes]:
        return {entry.raw for entry in self.entries if not entry.keys}

    def stale(self, there: Collection[bytes], dead: Collection[bytes] = ()) -> list[str]:
        """Keys that should be gone, and of which no dead letter tells."""
        told = (entry for entry in self.entries if entry.raw not in dead)
        return [key for entry in told for key in entry.keys if key.encode() in there]

    def lost(self, there: Collection[bytes], dead: Collection[bytes]) -> list[Entry]:
        """Events that were neither applied nor put into the dead letters."""
        return [
            entry
            for entry in self.entries
            if entry.raw not in dead
            and (not entry.keys or any(key.encode() in there for key in entry.keys))
        ]


def _event(kind: str, number: int) -> bytes:
    return json.dumps({"type": kind, "data": {"id": str(number)}}).encode()


def _poisoned(number: int, rng: random.Random) -> Entry:
    return Entry(rng.choice(_POISON).format(n=number).encode())
