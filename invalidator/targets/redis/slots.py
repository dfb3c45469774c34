"""The slots of a cluster: which keys lie together, and how to make them."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import TypeVar

from redis.crc import key_slot

from invalidator import layout
from invalidator.redisclient.routing import slot

Key = TypeVar("Key", str, bytes)


def in_order(keys: Sequence[Key], most: int) -> Sequence[Sequence[Key]]:
    """So many at a time."""
    return [keys[at : at + most] for at in range(0, len(keys), most)]


def by_slot(keys: Sequence[Key], most: int) -> Sequence[Sequence[Key]]:
    """Those that a cluster takes in one command, so many at a time."""
    slots: dict[int, list[Key]] = {}
    for key in keys:
        slots.setdefault(slot(key), []).append(key)
    chunks: list[Sequence[Key]] = []
    for together in slots.values():
        chunks += in_order(together, most) if len(together) > most else (together,)
    return chunks


def hash_tag(key: bytes) -> bytes:
    """The part in braces that decides a key's slot; empty where the whole key does."""
    _, opened, rest = key.partition(b"{")
    inside, closed, _ = rest.partition(b"}")
    return inside if opened and closed else b""


def pointer_beside(key: bytes) -> bytes:
    """Where the unfinished work of a tag is noted: one name for each tag, in the tag's slot."""
    return layout.WORK.encode() + b"{" + _anchor(key) + b"}:" + key


def _anchor(key: bytes) -> bytes:
    """What in braces gives the slot of the key."""
    if inside := hash_tag(key):
        return inside
    return key if key and b"}" not in key else _any_of_slot(key_slot(key))


@lru_cache(maxsize=1024)
def _any_of_slot(slot: int) -> bytes:
    """Only for keys like `a}b` or `{}a`, which cannot stand in braces themselves."""
    return next(name for name in map(b"%d".__mod__, count()) if key_slot(name) == slot)
