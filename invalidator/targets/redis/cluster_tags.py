"""Tags on a cluster: each is consumed on the node that has its slot, all nodes side by side."""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Sequence

from invalidator.errors import Unavailable
from invalidator.redisclient import Cluster
from invalidator.redisclient.errors import reaching
from invalidator.redisclient.server import BETWEEN_TRIES, Server, Sleep
from invalidator.targets.redis.nodekeys import ON_THEIR_WAY
from invalidator.targets.redis.tag_work import Consumed, Unlink
from invalidator.targets.redis.tags import Layout, Tags, stamps

TRIES = 3  # to find a tag whose slot moves, before all is tried again later


class ClusterTags:
    """The tags of one cache. Members lie anywhere in the cluster."""

    def __init__(
        self,
        whole: Server,
        cluster: Cluster,
        layouts: Sequence[Layout],
        unlink: Unlink,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._whole = whole
        self._cluster = cluster
        self._layouts = layouts
        self._unlink = unlink
        self._sleep = sleep

    def stamps(self, tags: Collection[str]) -> dict[str, str]:
        """The keys to delete for the layout `stamp`, each with its tag."""
        return stamps(self._layouts, tags)

    async def consume(self, tags: Collection[str]) -> Consumed:
        """Delete every key that is in the tags' sets now. Raises Unavailable."""
        result = Consumed()
        for kept in self._layouts:
            if kept.kind != "stamp":
                result.add(await self._patiently(kept, tags))
        return result

    async def recover(self) -> Consumed:
        """Finish what was left by a crash. Raises Unavailable."""
        with reaching(self._whole.name):
            nodes = await self._cluster.primaries()
        return await _all(self._tags_on(address, self._layouts).recover() for address in nodes)

    async def _patiently(self, kept: Layout, tags: Collection[str]) -> Consumed:
        """A slot may move meanwhile: whatever was done, all of it may be done again."""
        for left in range(TRIES, -1, -1):
            try:
                return await self._consume(kept, tags)
            except Unavailable as error:
                self._cluster.outdated()
                if error.code not in ON_THEIR_WAY or not left:
                    raise
            await self._sleep(BETWEEN_TRIES)
        raise AssertionError

    async def _consume(self, kept: Layout, tags: Collection[str]) -> Consumed:
        keys = {tag: kept.key_of(tag).encode() for tag in tags}
        with reaching(self._whole.name):
            owners = await self._cluster.owners(keys.values())
        parts: dict[str, list[str]] = {}
        for tag, key in keys.items():
            parts.setdefault(owners[key], []).append(tag)
        return await _all(
            self._tags_on(address, [kept]).consume(mine) for address, mine in parts.items()
        )

    def _tags_on(self, address: str, layouts: Sequence[Layout]) -> Tags:
        server = Server(self._cluster.node(address), address)
        return Tags(server, layouts, self._unlink, cluster=True, sleep=self._sleep)


async def _all(works: Iterable[Awaitable[Consumed]]) -> Consumed:
    """All of them to their end; then the first failure is raised."""
    result = Consumed()
    for consumed in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(consumed, BaseException):
            raise consumed
        result.add(consumed)
    return result
