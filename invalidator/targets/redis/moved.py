"""Where keys are, and whether that changed during a walk.

A cursor means nothing to another process of the server, and a moving slot takes its keys past a
walk that has not reached them. Only the server itself reports both.
"""

from collections.abc import Mapping

from msgspec import Struct

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.redisclient.server import Server, run_id

RUN = ("INFO", "server")
NODES = ("CLUSTER", "NODES")


class Place(Struct, frozen=True):
    """One primary, and the keys it has."""

    run: bytes  # its process
    slots: frozenset[bytes] = frozenset()  # ranges, as CLUSTER NODES writes them
    open: frozenset[bytes] = frozenset()  # slots moving from or to it


class Member(Struct, frozen=True):
    """One node of a cluster, as another one describes it."""

    id: bytes
    address: str
    flags: frozenset[bytes]
    slots: frozenset[bytes]
    open: frozenset[bytes]


def members(text: bytes) -> list[Member]:
    """Parse CLUSTER NODES. Only its own line says which slots of a node are open."""
    return [_member(line.split()) for line in text.splitlines() if line.strip()]


def _member(words: list[bytes]) -> Member:
    node, address, flags, *_ = words
    ranges = words[8:]
    return Member(
        node,
        address.partition(b"@")[0].decode(),
        frozenset(flags.split(b",")),
        frozenset(each for each in ranges if not each.startswith(b"[")),
        frozenset(each for each in ranges if each.startswith(b"[")),
    )


def primaries(text: bytes) -> list[str]:
    """Return the addresses of the nodes that have keys."""
    return [each.address for each in members(text) if b"master" in each.flags and each.slots]


async def look(server: Server, *, cluster: bool) -> Place:
    """Return the place of a server. Raises Unavailable, also for a replica: it may lag behind."""
    if not cluster:
        info, _ = await server.insist([RUN, ("UNLINK", layout.PROBE)])
        return Place(run_id(info))
    info, text = await server.insist([RUN, NODES])
    own = next(each for each in members(text) if b"myself" in each.flags)
    if b"master" not in own.flags:
        raise Unavailable(server.name, "is a replica")
    return Place(run_id(info), own.slots, own.open)


def moved(before: Mapping[str, Place], after: Mapping[str, Place]) -> str:
    """Return why a walk between the two may have missed a key; empty where it cannot."""
    if before.keys() != after.keys():
        return "primaries came or went"
    for name, was in before.items():
        now = after[name]
        if was.run != now.run:
            return f"{name} is another process now"
        if was.open or now.open:
            return f"{name} has moving slots"
        if was.slots != now.slots:
            return f"{name} has other slots now"
    return ""
