"""Tags on a cluster: each is consumed on the node that owns its slot, all nodes side by side."""

from collections.abc import Awaitable, Collection, Iterable, Sequence

from invalidator.errors import Unavailable
from invalidator.redisclient import Cluster
from invalidator.redisclient.errors import reaching
from invalidator.redisclient.server import Server
from invalidator.runtime.tasks import all_of
from invalidator.targets.redis.keys import MOVING
from invalidator.targets.redis.tag_work import Consumed, Unlink
from invalidator.targets.redis.tags import Layout, Tags


class ClusterTags:
    """The tags of one cache, whose members are anywhere in the cluster."""

    def __init__(
        self, whole: Server, cluster: Cluster, layouts: Sequence[Layout], unlink: Unlink
    ) -> None:
        self._whole = whole
        self._cluster = cluster
        self._layouts = layouts
        self._unlink = unlink

    async def consume(self, tags: Collection[str]) -> Consumed:
        """Delete every key that is in the tags' sets now. Raises Unavailable."""
        result = Consumed()
        for kept in self._layouts:
            if kept.kind != "stamp":
                result.add(await self._where_they_are(kept, tags))
        return result

    async def recover(self) -> Consumed:
        """Consume what a crash left. Raises Unavailable."""
        with reaching(self._whole.name):
            nodes = await self._cluster.primaries()
        return await _sum(self._tags_on(address, self._layouts).recover() for address in nodes)

    async def _where_they_are(self, kept: Layout, tags: Collection[str]) -> Consumed:
        """Consume once more with a new slot map after a redirection: all of it may be repeated."""
        try:
            return await self._consume(kept, tags)
        except Unavailable as error:
            self._cluster.outdated()
            if error.code not in MOVING:
                raise
        return await self._consume(kept, tags)

    async def _consume(self, kept: Layout, tags: Collection[str]) -> Consumed:
        keys = {tag: kept.key_of(tag).encode() for tag in tags}
        with reaching(self._whole.name):
            owners = await self._cluster.owners(keys.values())
        parts: dict[str, list[str]] = {}
        for tag, key in keys.items():
            parts.setdefault(owners[key], []).append(tag)
        return await _sum(
            self._tags_on(address, [kept]).consume(part) for address, part in parts.items()
        )

    def _tags_on(self, address: str, layouts: Sequence[Layout]) -> Tags:
        server = Server(self._cluster.node(address), address)
        return Tags(server, layouts, self._unlink, cluster=True)


async def _sum(works: Iterable[Awaitable[Consumed]]) -> Consumed:
    result = Consumed()
    for consumed in await all_of(works):
        result.add(consumed)
    return result
