"""A Redis that fails over or restarts is detected by the identity of its servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from invalidator.errors import Unavailable
from invalidator.model import Cause, Names
from invalidator.redisclient import client
from invalidator.rules import Cache
from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.targets.build import store_of
from invalidator.targets.redis.failover import IdentityWatch, Servers
from tests.backends import until
from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_server import RedisServer
from tests.backends.server import free_port
from tests.conftest import StartRedis
from tests.integration.piping import looking, run


@asynccontextmanager
async def watching(*urls: str) -> AsyncIterator[IdentityWatch]:
    clients = [client(url, 1.0) for url in urls]
    watch = IdentityWatch([Servers(each, "the cache") for each in clients], 300.0)
    try:
        await watch.ask()
        yield watch
    finally:
        for each in clients:
            await each.aclose()


async def changed(watch: IdentityWatch, before: str) -> str:
    """Ask until the identity is another one; return why."""

    async def asked() -> bool:
        try:
            await watch.ask()
        except Unavailable:
            return False
        return watch.identity != before

    await until(asked)
    return watch.reason


async def test_a_server_that_stays_has_one_identity_for_all_who_ask(redis_url: str) -> None:
    async with watching(redis_url) as watch, watching(redis_url) as other:
        identity = watch.identity
        await watch.ask()
        assert watch.identity == identity == other.identity != ""


async def test_a_restart_is_another_identity(start_redis: StartRedis) -> None:
    server = start_redis(config={"appendonly": "yes"})
    async with watching(server.url) as watch:
        with capture_logs() as logs:
            server.restart()
            assert "another process" in await changed(watch, watch.identity)
        assert "failover-detected" in {entry["event"] for entry in logs}


async def test_a_primary_that_followed_another_server_meanwhile_is_another_identity(
    start_redis: StartRedis,
) -> None:
    server, other = start_redis(), start_redis()
    async with watching(server.url) as watch:
        host, port = other.address.split(":")
        with looking(server.url) as now:
            now.replicaof(host, port)
            await until(lambda: now.info("replication")["master_link_status"] == "up")
            now.replicaof("NO", "ONE")
        assert "other data" in await changed(watch, watch.identity)


async def test_while_one_of_several_is_down_no_identity_is_known(
    redis_url: str, start_redis: StartRedis
) -> None:
    """Else sources would believe that what they settle meanwhile is safe."""
    server = start_redis()
    async with watching(redis_url, server.url) as watch:
        identity = watch.identity
        server.freeze()
        with pytest.raises(Unavailable):
            await watch.ask()
        assert watch.identity == ""
        server.thaw()
        await watch.ask()
        assert watch.identity == identity
        server.kill()
        server.start()
        assert "another process" in await changed(watch, identity)


async def test_nothing_is_applied_before_all_identities_are_known(
    redis_url: str, start_redis: StartRedis
) -> None:
    server = start_redis()
    store = store_of(Settings(redis_url=SecretStr(redis_url)), Health())
    other = client(server.url, 1.0)
    (host,) = store.hosts
    host.identity_watch = IdentityWatch([host.servers, Servers(other, "another cache")], 300.0)
    try:
        cache = store.hosts[0].stores({"default": Cache("default")})["default"]
        server.freeze()
        with looking(redis_url) as now:
            now.set("key", "stale")
            with pytest.raises(Unavailable):
                await host.apply(cache, Names(keys={"key"}), Cause("test"))
            assert now.exists("key")
            server.thaw()
            await host.apply(cache, Names(keys={"key"}), Cause("test"))
            assert not now.exists("key")
    finally:
        await store.close()
        await other.aclose()


async def test_slots_that_move_are_no_failover(cluster: RedisCluster) -> None:
    async with watching(cluster.url) as watch:
        identity = watch.identity
        cluster.move_slot(0, 0, 1)
        try:
            await watch.ask()
            assert watch.identity == identity
        finally:
            cluster.move_slot(0, 1, 0)


async def test_a_cluster_without_all_slots_has_an_identity(start_redis: StartRedis) -> None:
    bus = {"cluster-port": str(free_port()), "cluster-require-full-coverage": "no"}
    server = start_redis(config={"cluster-enabled": "yes", **bus})
    with looking(server.url) as now:
        run(now, "CLUSTER", "ADDSLOTSRANGE", "0", "100")
        async with watching(f"redis+cluster://{server.address}") as watch:
            assert watch.identity


def test_only_errors_that_may_pass_are_waited_for() -> None:
    """A proxy, say, that does not support INFO must not hold up everything."""
    servers = Servers(client("redis://127.0.0.1:1/0", 1.0), "a proxy")
    with capture_logs() as logs:
        servers._check_forbidden(ResponseError("unsupported command 'info'"))
    assert logs[0]["event"] == "failover-detection-off"
    with pytest.raises(Unavailable, match="LOADING"):
        servers._check_forbidden(ResponseError("LOADING Redis is loading the dataset in memory"))


async def test_a_server_that_may_not_be_asked_is_reported_once(start_redis: StartRedis) -> None:
    server: RedisServer = start_redis(config={"rename-command": 'INFO ""'})
    with capture_logs() as logs:
        async with watching(server.url) as watch:
            await watch.ask()
            assert watch.identity
    said = [entry for entry in logs if entry["event"] == "failover-detection-off"]
    assert len(said) == 1
    assert "INFO" in said[0]["reason"]
