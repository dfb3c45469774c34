"""Rows 20-23, 29-31: failovers, frozen sentinels, clusters on the move, old snapshots."""

from collections.abc import Mapping
from typing import Any

import redis as library

from tests.backends import until_sync
from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_sentinel import Watched
from tests.backends.redis_server import RedisServer
from tests.faults.caches import ClusterCache, OneServer, SentinelCache
from tests.faults.caches import at as client
from tests.faults.ledger import CATALOG, PAGE
from tests.faults.load import Load
from tests.faults.rows import row
from tests.faults.stage import Stage

# A member that came back on one node is not found again where its tag's set is gone from another.
WITHOUT_MEMBERS: Mapping[str, Any] = {"tagged_every": 1_000_000, "rare": (PAGE, CATALOG)}
CLUSTER_TIMEOUT_MS = 1_000  # a primary that is silent for so long counts as dead


@row(
    20,
    "a replica that never saw the deletions takes over from a killed primary",
    recover=10,
    grace=10,
    quick=True,
)
def unreplicated(at: Stage) -> None:
    watched = at.start(Watched())
    load = at.from_everywhere(SentinelCache(watched), at.redis())
    at.daemon()
    at.warm()
    load.await_applied()
    until_sync(lambda: _in_step(watched), what="the replica has everything so far")
    _cut_off(watched.primary, watched.replica)
    load.publish(0.5)
    load.await_applied()
    watched.primary.kill()
    watched.replica.thaw()
    until_sync(lambda: _taken_over(load, watched), what="the replica takes over")
    at.healed()


def _cut_off(primary: RedisServer, replica: RedisServer) -> None:
    """Keep the replica from seeing further deletions."""
    replica.freeze()
    with client(primary.port) as admin:
        admin.execute_command("CLIENT", "KILL", "TYPE", "replica")  # type: ignore[no-untyped-call]


def _in_step(watched: Watched) -> bool:
    with client(watched.primary.port) as admin:
        found = admin.info("replication")
    return bool(found["slave0"]["offset"] == found["master_repl_offset"])


def _taken_over(load: Load, watched: Watched) -> bool:
    cache = load.cache
    assert isinstance(cache, SentinelCache)
    if cache.port() != watched.replica.port:
        return False
    with client(watched.replica.port) as admin:
        return bool(admin.info("replication")["role"] == "master")


@row(21, "the first of three sentinels is frozen, and the daemon loses its connections")
def sentinel_frozen(at: Stage) -> None:
    watched = at.start(Watched())
    load = at.events(SentinelCache(watched), at.topic())
    at.daemon()
    at.warm()
    watched.sentinels[0].freeze()
    with client(watched.primary.port) as admin:
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal")  # type: ignore[no-untyped-call]
    before = len(load.stale())
    with at.timed(1.0, "finding the primary"):
        load.publish(0.5)
        until_sync(lambda: len(load.stale()) < before, what="keys go")
    at.healed()


@row(
    22,
    "a primary of a cluster is killed, whose replica never saw the last deletions, another is "
    "frozen; replicas take over",
    recover=20,
    grace=10,
)
def primaries_lost(at: Stage) -> None:
    cluster = at.start(RedisCluster(node_timeout_ms=CLUSTER_TIMEOUT_MS))
    source = at.redis()
    load = at.events(ClusterCache(cluster), at.topic(), at.stream(source), **WITHOUT_MEMBERS)
    at.daemon()
    at.warm()
    with load.flowing(rate=300):
        at.pause(1)
        _cut_off(cluster.servers[0], cluster.servers[3])
        at.pause(1)
        cluster.servers[0].kill()
        cluster.servers[3].thaw()
        until_sync(lambda: _led_by(cluster, 3), what="its replica took over")
        at.pause(1)
    load.publish()
    cluster.servers[1].freeze()
    at.healed()


def _led_by(cluster: RedisCluster, number: int) -> bool:
    try:
        with client(cluster.servers[number].port) as admin:
            return bool(admin.info("replication")["role"] == "master")
    except library.RedisError:
        return False


@row(23, "40 slots move between the primaries of a cluster under load", recover=30)
def resharded(at: Stage) -> None:
    cluster = at.start(RedisCluster())
    load = at.events(ClusterCache(cluster), at.topic())
    at.daemon()
    at.warm()
    with load.flowing(rate=300):
        _move_slots(at, cluster, load, at.times(40))
    at.healed()


def _move_slots(at: Stage, cluster: RedisCluster, load: Load, count: int) -> None:
    """Move slots of keys that are still to be deleted."""
    keys = sorted(load.ledger.keys)
    slots = {library.crc.key_slot(key.encode()): key for key in at.rng.sample(keys, count)}
    for slot, key in slots.items():
        source = cluster.owner(key)
        cluster.move_slot(slot, source, (source + 1) % 3)


@row(
    29, "Redis is killed, and started again from an old snapshot", recover=30, grace=30, quick=True
)
def old_snapshot(at: Stage) -> None:
    redis = at.redis()
    load = at.from_everywhere(OneServer(redis), at.redis())
    at.daemon()
    at.warm()
    with client(redis.port) as admin:
        admin.save()
    load.publish(0.6)
    load.await_applied()
    redis.kill()
    redis.start()
    at.note(not load.stale(), "the snapshot brought nothing back")
    at.healed()


@row(30, "a daemon is killed amid the consumption of a tag, another amid a sweep")
def killed_amid(at: Stage) -> None:
    redis = at.redis()
    way = at.proxy(redis.port)
    load = at.usual(redis, way, count=400, members=600)
    with client(redis.port) as admin, admin.pipeline(transaction=False) as pipe:
        for number in range(60_000):
            pipe.set(f"other:{number}", "not stale")
        pipe.execute()
    way.delay = 0.02
    load.publish()
    for amid in (_amid_a_tag, _amid_a_sweep):
        member = at.daemon()
        until_sync(lambda amid=amid: amid(load), 120, "it is in the middle of it")  # type: ignore[misc]
        member.kill()
    way.heal()
    at.healed()
    at.daemon()


def _amid_a_tag(load: Load) -> bool:
    return any(name.startswith(b"invalidator:work:") for name in load.cache.there())


def _amid_a_sweep(load: Load) -> bool:
    """Return whether some keys of a list are gone and some are there."""
    there = load.cache.there()
    for entry in load.ledger.entries:
        if entry.keys[0].startswith("list:"):
            gone = sum(key.encode() not in there for key in entry.keys)
            if 0 < gone < len(entry.keys):
                return True
    return False


@row(31, "20 slots move while a cluster is swept", recover=30)
def resharded_amid_a_sweep(at: Stage) -> None:
    cluster = at.start(RedisCluster())
    load = at.events(ClusterCache(cluster), at.topic(), count=1_000, swept_every=2)
    at.daemon()
    at.warm()
    with load.flowing(rate=150):
        _move_slots(at, cluster, load, at.times(20))
    at.healed()
