"""The differences between one server and a cluster; nothing above knows them."""

from collections.abc import Sequence

from invalidator.redisclient import Cluster, nodes, ping
from invalidator.redisclient.errors import reaching
from invalidator.redisclient.server import Server
from invalidator.targets.pace import PacedKeys, Pacer, Unlinking
from invalidator.targets.redis.cluster_tags import ClusterTags
from invalidator.targets.redis.keys import Keys, NodeKeys
from invalidator.targets.redis.tag_work import Unlink
from invalidator.targets.redis.tags import Layout, Tags
from invalidator.targets.redis.versions import PER_CALL, Versions
from invalidator.targets.redis.walk import Node


def tags_on(server: Server, layouts: Sequence[Layout], unlink: Unlink) -> Tags | ClusterTags:
    if isinstance(server.client, Cluster):
        return ClusterTags(server, server.client, layouts, unlink)
    return Tags(server, layouts, unlink)


def versions_on(server: Server, template: str) -> Versions:
    per_call = 1 if isinstance(server.client, Cluster) else PER_CALL
    return Versions(server, template, per_call=per_call)


async def nodes_on(server: Server, keys: Keys, pacer: Pacer) -> Sequence[Node]:
    """Return all nodes that have keys, as they are now. Raises Unavailable."""
    if not isinstance(server.client, Cluster):
        return [_node(server, keys, pacer)]
    with reaching(server.name):
        found = await nodes(server.client)
    primaries = [Server(client, address) for address, client in found.items()]
    return [_node(each, NodeKeys(each), pacer, cluster=True) for each in primaries]


async def probe(server: Server, keys: Keys) -> None:
    """Raise Unavailable unless every server answers, and the one we ask lets us delete."""
    if isinstance(server.client, Cluster):
        await ping(server.client, server.name)
    await keys.probe()


def _node(server: Server, keys: Unlinking, pacer: Pacer, *, cluster: bool = False) -> Node:
    paced = PacedKeys(keys, pacer)
    return Node(server, paced.unlink, cluster, lambda: paced.waited)
