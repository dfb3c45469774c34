"""Tell whether a walk may have missed keys, because its servers changed meanwhile."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.redisclient.server import Server, run_id
from invalidator.targets.redis.walk import Node

RUN = ("INFO", "server")
NODES = ("CLUSTER", "NODES")


class Place(Struct, frozen=True):
    """One primary, and the keys it has, as only the server itself reports them.

    A cursor means nothing to another process of the server, and a moving slot takes its keys past
    a walk that has not reached them.
    """

    run: bytes  # its process
    slots: frozenset[bytes] = frozenset()  # ranges, as CLUSTER NODES writes them
    open: frozenset[bytes] = frozenset()  # slots moving from or to it


def own_line(text: bytes) -> list[bytes]:
    """Return the words of a node's own line in CLUSTER NODES: only there are open slots listed."""
    lines = (line.split() for line in text.splitlines())
    return next(words for words in lines if words and b"myself" in words[2].split(b","))


async def look(server: Server, *, cluster: bool) -> Place:
    """Return the place of a server. Raises Unavailable, also for a replica: it may lag behind."""
    if not cluster:
        info, _ = await server.insist([RUN, ("UNLINK", layout.PROBE)])
        return Place(run_id(info))
    info, text = await server.insist([RUN, NODES])
    words = own_line(text)
    if b"master" not in words[2].split(b","):
        raise Unavailable(server.name, "is a replica")
    return place_of(run_id(info), words)


def place_of(run: bytes, own_line: list[bytes]) -> Place:
    ranges = frozenset(own_line[8:])
    moving = frozenset(each for each in ranges if each.startswith(b"["))
    return Place(run, ranges - moving, moving)


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


async def places(nodes: Sequence[Node]) -> Mapping[str, Place]:
    """Return the place of each. Raises Unavailable."""
    return {node.server.name: await look(node.server, cluster=node.cluster) for node in nodes}
