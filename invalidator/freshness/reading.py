"""Reads what names stand for: a key, the members of a tag, some keys that match a pattern."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from invalidator.freshness.stored import MOST, Stored, Unreadable, stored
from invalidator.model import Kind
from invalidator.redisclient import Command, Reply
from invalidator.rules.rule import Cache, Layout

MEMBERS = 10  # of a tag or pattern
LONGEST_STAMP = 100  # bytes
PAGES = 10  # of all keys, in which those of a pattern are looked for

Found = Stored | None | Unreadable  # a value, nothing, or something else than a string

_SAMPLES = {"set": "SRANDMEMBER", "sorted-set": "ZRANDMEMBER"}


class Home(Protocol):
    """The Redis of a cache."""

    async def look(self, commands: Sequence[Command]) -> list[Reply]: ...

    def pages(self, pattern: str) -> AsyncIterator[list[bytes]]: ...


async def keys_of(home: Home, cache: Cache, kind: Kind, name: str) -> list[bytes]:
    """Return the keys that a name stands for, at most a few. Raises Unavailable."""
    if kind == "keys":
        return [name.encode()]
    if kind == "patterns":
        return await _matching(home, name)
    kept = [layout for layout in cache.layouts if layout.kind in _SAMPLES]
    commands: list[Command] = [
        (_SAMPLES[layout.kind], layout.key.replace("{tag}", name), MEMBERS) for layout in kept
    ]
    replies = await home.look(commands)
    return [
        _key(cache, layout, member)
        for layout, members in zip(kept, replies, strict=True)
        if isinstance(members, list)  # an error: this key is no set, so it has no members
        for member in members
    ]


async def _matching(home: Home, pattern: str) -> list[bytes]:
    """Return some keys that match, among the first pages of all keys."""
    found: list[bytes] = []
    looked = 0
    async for keys in home.pages(pattern):
        found += keys
        looked += 1
        if len(found) >= MEMBERS or looked == PAGES:
            break
    return found[:MEMBERS]


def _key(cache: Cache, layout: Layout, member: bytes) -> bytes:
    return member if layout.members == "full" else cache.prefix.encode() + member


async def read(home: Home, keys: Sequence[bytes]) -> list[Found]:
    """Return what each key holds for its readers. Raises Unavailable."""
    commands: list[Command] = []
    for key in keys:
        commands += [("GETRANGE", key, 0, MOST - 1), ("PTTL", key)]
    replies = await home.look(commands)
    pairs = zip(replies[::2], replies[1::2], strict=True)
    return [await _found(home, raw, ttl) for raw, ttl in pairs]


async def _found(home: Home, raw: Reply, ttl: Reply) -> Found:
    try:
        entry = stored(raw, ttl)
    except Unreadable as unreadable:
        return unreadable
    return entry if entry and await _is_valid(home, entry) else None


async def _is_valid(home: Home, entry: Stored) -> bool:
    """Return whether an entry's stamps are still there: readers take it for absent otherwise."""
    if not (stamps := entry.stamps):
        return True
    replies = await home.look([("GETRANGE", key, 0, LONGEST_STAMP) for key, _ in stamps])
    return replies == [stamp.encode() for _, stamp in stamps]


async def counter(home: Home, cache: Cache, name: str) -> int | None:
    """Return the count of a version; None where there is none. Raises Unavailable, Unreadable."""
    (reply,) = await home.look([("GET", cache.version.replace("{name}", name))])
    if reply is None:
        return None
    if not isinstance(reply, bytes) or not reply.lstrip(b"-").isdigit():
        raise Unreadable
    return int(reply)
