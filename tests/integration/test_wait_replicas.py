"""A batch that replicas do not have is not applied."""

from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.runtime.health import Health
from tests.backends import until
from tests.conftest import StartRedis
from tests.integration.piping import looking, piping, rules_from
from tests.integration.test_kinds import RULES, order
from tests.integration.test_several_redis import stored

if TYPE_CHECKING:
    import redis


def replicating(now: "redis.Redis") -> bool:
    found: str = now.info("replication")["master_link_status"]
    return found == "up"


async def test_what_a_replica_does_not_have_is_applied_again_until_it_does(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    primary = start_redis(config={"repl-diskless-sync-delay": "0"})
    replica = start_redis(config={"replicaof": f"127.0.0.1 {primary.port}"})
    health = Health()
    with looking(primary.url) as now, looking(replica.url) as there:
        await until(lambda: replicating(there))
        async with (
            stored(health, redis_url=primary.url, wait_replicas="1") as store,
            piping(rules_from(RULES, tmp_path), primary.url, store=store, health=health) as bench,
        ):
            now.mset({"order:o1": 1, "m": 1, "orders:list:c1:1": 1})
            now.sadd("tag:customer:c1", "m")
            bench.source.publish(order())
            await until(lambda: bench.source.settled == 1)
            assert there.keys() == [b"cache:version:orders"]
            replica.freeze()
            now.set("order:o1", 1)
            bench.source.publish(order())
            await until(
                lambda: "0 of INVALIDATOR_WAIT_REPLICAS=1" in health.waiting().get("redis", "")
            )
            assert bench.source.settled == 1
            replica.thaw()
            await until(lambda: bench.source.settled == 2)
            assert not there.exists("order:o1")
