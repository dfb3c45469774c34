import asyncio
import time

import pytest
import redis

from invalidator.errors import Unavailable
from invalidator.redisclient import client
from invalidator.redisclient.server import Server
from invalidator.targets.redis.apply import Versions
from tests.conftest import StartRedis

KEY = "cache:version:orders"
FAR = 9_007_199_254_740_000  # microseconds beyond any clock, yet below 2^53


@pytest.fixture
def versions(server: Server) -> Versions:
    return Versions(server)


def value(redis_now: "redis.Redis", key: str = KEY) -> int:
    return int(redis_now.get(key) or -1)


async def test_an_absent_version_becomes_the_servers_time(
    versions: Versions, redis_now: "redis.Redis"
) -> None:
    assert await versions.bump({"orders"}) == {}
    assert abs(value(redis_now) - time.time_ns() // 1000) < 60_000_000
    assert redis_now.ttl(KEY) == -1


async def test_a_version_grows_with_every_bump(
    versions: Versions, redis_now: "redis.Redis"
) -> None:
    seen = []
    for _ in range(20):
        await versions.bump(["orders"])
        seen.append(value(redis_now))
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FAR, FAR + 1),
        (FAR + 737, FAR + 738),
        (9_000_000_000_000_000 - 1, 9_000_000_000_000_000),
        (4_503_599_627_370_497, 4_503_599_627_370_498),
    ],
)
async def test_a_version_ahead_of_the_clock_grows_by_one_exactly(
    versions: Versions, redis_now: "redis.Redis", old: int, new: int
) -> None:
    redis_now.set(KEY, old)
    await versions.bump(["orders"])
    assert redis_now.get(KEY) == b"%d" % new


@pytest.mark.parametrize("old", ["0", "7", "-3", "1738000000.25", "1738000000123456"])
async def test_any_number_gives_way_to_the_clock(
    versions: Versions, redis_now: "redis.Redis", old: str
) -> None:
    redis_now.set(KEY, old, ex=100)
    assert await versions.bump(["orders"]) == {}
    assert value(redis_now) > 1_738_000_000_123_457
    assert redis_now.ttl(KEY) == -1


async def test_readers_may_increment_it_themselves(
    versions: Versions, redis_now: "redis.Redis"
) -> None:
    await versions.bump(["orders"])
    before = int(redis_now.incrby(KEY, 10**12))
    await versions.bump(["orders"])
    assert value(redis_now) == before + 1


async def test_what_is_no_number_is_refused_and_the_others_grow(
    versions: Versions, redis_now: "redis.Redis"
) -> None:
    for name in ("abc", "", " 1", "0x10", "nan", "inf", "1e3", "1.", "9" * 400, str(2**53 - 1)):
        redis_now.set(f"cache:version:bad{name}", name)
    redis_now.sadd("cache:version:set", "x")
    bad = [f"bad{name}" for name in ("abc", "", " 1", "0x10", "nan", "inf", "1e3", "1.")]
    large = ["bad" + "9" * 400, f"bad{2**53 - 1}"]
    failed = await versions.bump([*bad, *large, "set", "orders"])
    expected = dict.fromkeys(bad, "notanumber") | dict.fromkeys(large, "toolarge")
    assert {name: verdict.code for name, verdict in failed.items()} == expected | {
        "set": "wrongtype"
    }
    assert value(redis_now) > 0
    assert redis_now.get("cache:version:badabc") == b"abc"


async def test_a_large_value_under_the_name_of_a_version_does_not_hold_the_server_up(
    versions: Versions, redis_now: "redis.Redis"
) -> None:
    redis_now.setrange("cache:version:orders", 8 * 2**20, b"1")
    redis_now.config_resetstat()
    failed = await versions.bump(["orders"])
    assert {name: verdict.code for name, verdict in failed.items()} == {"orders": "notanumber"}
    assert "cmdstat_get" not in redis_now.info("commandstats")


async def test_thousands_go_in_one_batch(versions: Versions, redis_now: "redis.Redis") -> None:
    assert await versions.bump([f"v{number}" for number in range(5000)]) == {}
    assert redis_now.dbsize() == 5000


async def test_nothing_to_do_is_nothing_asked() -> None:
    async with client("redis://127.0.0.1:1", 1.0) as nowhere:
        assert await Versions(Server(nowhere, "nowhere")).bump([]) == {}


async def test_concurrent_bumps_never_go_back(
    server: Server, versions: Versions, redis_now: "redis.Redis"
) -> None:
    redis_now.set(KEY, FAR)
    await asyncio.gather(*(versions.bump(["orders"]) for _ in range(50)))
    assert value(redis_now) == FAR + 50


async def test_a_server_that_lost_its_scripts_learns_them_again(
    versions: Versions, redis_now: "redis.Redis"
) -> None:
    await versions.bump(["orders"])
    redis_now.script_flush()
    before = value(redis_now)
    assert await versions.bump(["orders", "items"]) == {}
    assert value(redis_now) > before


async def test_one_forbidden_name_does_not_hold_up_the_others(start_redis: StartRedis) -> None:
    running = start_redis()
    with redis.Redis(port=running.port) as admin:
        keys = ["~cache:version:ok*"]
        commands = ["strlen", "get", "set", "time", "evalsha", "script|load", "client|setname"]
        admin.acl_setuser(
            "u",
            enabled=True,
            passwords=["+p"],
            keys=[key[1:] for key in keys],
            commands=[f"+{each}" for each in commands],
        )
        async with client(f"redis://u:p@{running.address}", 2.0) as limited:
            failed = await Versions(Server(limited, "cache")).bump(["ok1", "secret", "ok2"])
        assert {name: verdict.code for name, verdict in failed.items()} == {"secret": "noperm"}
        assert admin.exists("cache:version:ok1", "cache:version:ok2") == 2


async def test_a_full_server_is_unavailable_and_nothing_is_failed(start_redis: StartRedis) -> None:
    running = start_redis(config={"maxmemory": "1"})
    async with client(running.url, 2.0) as full:
        with pytest.raises(Unavailable, match="maxmemory"):
            await Versions(Server(full, "cache")).bump(["orders"])


async def test_a_version_that_was_evicted_is_raised_above_what_it_was_though_the_clock_went_back(
    versions: Versions, redis_now: "redis.Redis"
) -> None:
    ahead = 8_000_000_000_000_000
    redis_now.set("cache:version:orders", ahead)
    assert await versions.bump(["orders"]) == {}
    redis_now.delete("cache:version:orders")
    assert await versions.bump(["orders"]) == {}
    assert int(redis_now.get("cache:version:orders") or 0) > ahead + 1
