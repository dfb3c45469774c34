"""Counting how much of some names exists, for a person. Reads only."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from invalidator.model import Kind, Names
from invalidator.redisclient import Command
from invalidator.redisclient.errors import Meaning, diagnose
from invalidator.redisclient.server import Server
from invalidator.rules.rule import Cache
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.tags import Layout

TOGETHER = 1000  # commands in one write


class Counted(Struct, frozen=True):
    """One name, or all patterns together, since one sweep counts them."""

    kind: Kind
    name: str
    keys: int  # that would be deleted
    found: str  # in words


async def counted(
    server: Server, cache: Cache, layouts: Sequence[Layout], names: Names
) -> list[Counted]:
    """Count keys, tags and versions. Raises Unavailable."""
    asked: list[tuple[Kind, str, Command, str]] = [
        ("keys", key, ("EXISTS", key), "") for key in sorted(names.keys)
    ]
    asked += [
        ("tags", tag, (_COUNT[kept.kind], kept.key_of(tag)), kept.kind)
        for tag in sorted(names.tags)
        for kept in layouts
    ]
    versions = [(name, cache.version.replace("{name}", name)) for name in sorted(names.versions)]
    asked += [("versions", name, ("GET", key), "") for name, key in versions]
    found = []
    for at in range(0, len(asked), TOGETHER):
        part = asked[at : at + TOGETHER]
        replies = await server.send([command for _, _, command, _ in part])
        _unless_unavailable(server, replies)
        found += [
            _counted(kind, name, reply, how)
            for (kind, name, _, how), reply in zip(part, replies, strict=True)
        ]
    return found


def _unless_unavailable(server: Server, replies: Sequence[object]) -> None:
    """Raise Unavailable for a reply that says so; a missing permission to count is no reason."""
    for reply in replies:
        verdict = diagnose(reply) if isinstance(reply, Exception) else None
        if verdict and verdict.meaning is Meaning.UNAVAILABLE and verdict.code != "noperm":
            raise verdict.unavailable(server.name)


_COUNT = {"set": "SCARD", "sorted-set": "ZCARD", "stamp": "EXISTS"}


def _counted(kind: Kind, name: str, reply: object, how: str) -> Counted:
    if isinstance(reply, Exception):
        return Counted(kind, name, 0, f"cannot be counted: {diagnose(reply).message}")
    if kind == "versions":
        now = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
        return Counted(kind, name, 0, f"now {now}" if now else "no counter yet")
    count = reply if isinstance(reply, int) else 0
    if kind == "keys":
        return Counted(kind, name, count, "exists" if count else "does not exist")
    if how == "stamp":
        return Counted(kind, name, count, "a stamp" if count else "no stamp")
    return Counted(kind, name, count, f"{count:,} in its {how}")


async def matched(sweeper: Sweeper, patterns: Iterable[str]) -> Counted:
    """Count what a sweep would delete. Raises Unavailable."""
    progress = await sweeper.survey(pattern.encode() for pattern in patterns)
    found = f"{progress.matched:,} of {progress.total:,} keys"
    if progress.protected:
        found += f"; {progress.protected:,} protected"
    return Counted("patterns", " ".join(sorted(patterns)), progress.matched, found)
