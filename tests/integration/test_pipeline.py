"""The pipeline on real Redis servers: nothing is acknowledged before it is applied."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from structlog.testing import capture_logs

from invalidator.errors import Unavailable
from invalidator.model import Batch
from invalidator.pipeline.inflight import InFlight, Limits
from invalidator.rules import RuleSet
from tests.backends import until
from tests.conftest import StartRedis
from tests.integration.piping import (
    RULES,
    AllowKeys,
    dead_letters,
    event,
    looking,
    order,
    piping,
    rules_from,
    run,
)
from tests.memory_source import Ends, MemorySource

if TYPE_CHECKING:
    import redis


@pytest.fixture
def rules(tmp_path: Path) -> RuleSet:
    return rules_from(RULES, tmp_path)


async def test_an_event_deletes_the_keys_that_its_rules_name_and_no_others(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({"order:single:o1": 1, "orders:count:c": 1, "audit:o1": 1, "order:single:o2": 1})
    async with piping(rules, redis_url) as bench:
        bench.source.publish(order(1))
        await until(lambda: bench.source.settled == 1)
    assert redis_now.keys() == [b"order:single:o2"]


async def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_of_its_batch_is_applied(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    redis_now.mset({f"order:single:o{n}": 1 for n in range(6)})
    bad = [b"\xff\x00 not json", b"[1]", b'{"data": {}}', order("x" * 20_000)]
    async with piping(rules, redis_url) as bench:
        bench.source.publish(order(0), bad[0], order(1), *bad[1:3], order(2), bad[3], order(3))
        await until(lambda: bench.source.settled == 8)
    assert sorted(redis_now.keys("order:*")) == [b"order:single:o4", b"order:single:o5"]
    letters = dead_letters(redis_now)
    assert [letter["error"] for letter in letters] == [
        "not-json", "not-object", "no-type", "too-large",
    ]  # fmt: skip
    assert [letter["raw"] for letter in letters] == bad
    assert [letter["position"] for letter in letters] == ["1", "3", "4", "6"]
    assert {letter["rules"] for letter in letters} == {rules.hash}


async def test_a_rule_that_cannot_be_planned_leaves_the_events_other_rules_alone(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    redis_now.set("audit:o1", 1)
    async with piping(rules, redis_url) as bench:
        bench.source.publish(event(orderId="o1"))
        await until(lambda: bench.source.settled == 1)
    assert redis_now.exists("audit:o1") == 0
    (letter,) = dead_letters(redis_now)
    (fault,) = letter["faults"]
    assert (fault["rule"], fault["what"]) == ("order-changed", "orders:count:{customerId}")
    assert "customerId" in fault["message"]


async def test_events_that_no_rule_names_and_tombstones_are_acknowledged(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis"
) -> None:
    async with piping(rules, redis_url) as bench:
        bench.source.publish(event("user.updated", id=1), None)
        await until(lambda: bench.source.settled == 2)
    assert redis_now.dbsize() == 0


async def test_while_redis_is_away_nothing_is_acknowledged_and_all_goes_on_by_itself(
    rules: RuleSet, start_redis: StartRedis
) -> None:
    server = start_redis()
    async with piping(rules, server.url) as bench:
        bench.source.publish(order(1))
        await until(lambda: bench.source.settled == 1)
        server.kill()
        bench.source.publish(order(2), order(3), b"not json")
        reason = await until(lambda: bench.health.waiting().get("redis"))
        assert server.address.split(":")[1] in reason or "the cache" in reason
        assert bench.source.settled == 1
        server.start()
        with looking(server.url) as now:
            now.mset({"order:single:o2": 1, "order:single:o3": 1})
            await until(lambda: bench.source.settled == 4)
            assert now.exists("order:single:o2", "order:single:o3") == 0
            assert len(dead_letters(now)) == 1
        assert bench.health.waiting() == {}


@pytest.mark.parametrize(
    ("refuse", "allow"),
    [
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
        (["ACL", "SETUSER", "default", "-unlink"], ["ACL", "SETUSER", "default", "+unlink"]),
        (
            ["CONFIG", "SET", "min-replicas-to-write", "1"],
            ["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ],
    ids=["read-only", "command-forbidden", "too-few-replicas"],
)
async def test_a_server_that_refuses_everything_is_waited_for_and_makes_no_dead_letter(
    rules: RuleSet, start_redis: StartRedis, refuse: list[str], allow: list[str]
) -> None:
    server = start_redis()
    with looking(server.url) as now:
        now.mset({"order:single:o1": 1})
        async with piping(rules, server.url) as bench:
            run(now, *refuse)
            bench.source.publish(order(1))
            await until(lambda: bench.health.waiting().get("redis"))
            assert bench.source.settled == 0
            run(now, *allow)
            await until(lambda: bench.source.settled == 1)
        assert now.exists("order:single:o1") == 0
        assert dead_letters(now) == []


async def test_a_forbidden_key_is_a_dead_letter_and_keeps_no_other_key_alive(
    rules: RuleSet, start_redis: StartRedis
) -> None:
    server = start_redis(
        config={"user": "default on nopass +@all ~order:* ~orders:* ~invalidator:*"}
    )
    admin = server.url
    async with piping(rules, server.url) as bench:
        with looking(admin) as now:
            now.mset({f"order:single:o{n}": 1 for n in range(300)})
        bench.source.publish(*(order(n) for n in range(300)))
        await until(lambda: bench.source.settled == 300)
    with looking(admin) as now:
        assert now.exists(*(f"order:single:o{n}" for n in range(300))) == 0
        letters = dead_letters(now)
    assert len(letters) == 300
    assert {fault["rule"] for letter in letters for fault in letter["faults"]} == {"order-audit"}
    assert {letter["error"] for letter in letters} == {"noperm"}


async def test_permissions_that_were_taken_away_are_waited_for(
    rules: RuleSet, start_redis: StartRedis
) -> None:
    server = start_redis()
    with looking(server.url) as now:
        async with piping(rules, server.url) as bench:
            bench.source.publish(order(1))
            await until(lambda: bench.source.settled == 1)
            run(now, "ACL", "SETUSER", "default", "resetkeys", "~invalidator:*")
            bench.source.publish(event(orderId="o2", customerId="c"))
            await until(lambda: bench.health.waiting().get("redis"))
            run(now, "ACL", "SETUSER", "default", "allkeys")
            await until(lambda: bench.source.settled == 2)
        assert dead_letters(now) == []


async def test_while_the_dead_letters_are_away_their_batch_is_not_acknowledged(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis", start_redis: StartRedis
) -> None:
    letters = start_redis()
    letters.kill()
    async with piping(rules, redis_url, state_url=letters.url) as bench:
        bench.source.publish(b"not json")
        await until(lambda: bench.health.waiting().get("dead letters"))
        assert bench.source.settled == 0
        letters.start()
        await until(lambda: bench.source.settled == 1)
    with looking(letters.url) as now:
        assert [letter["raw"] for letter in dead_letters(now)] == [b"not json"]
    assert redis_now.dbsize() == 0


class Other(MemorySource):
    name = "other"


async def test_a_redis_is_ready_when_all_who_found_it_away_have_it_back(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    text = RULES + "  - {name: v, on: v.updated, invalidate: {versions: [v]}}\n"
    rules, server = rules_from(text, tmp_path), start_redis()
    other = Other()
    async with (
        piping(rules, server.url) as bench,
        piping(rules, server.url, source=other, health=bench.health),
    ):
        with looking(server.url) as now:
            now.config_set("maxmemory", "1")  # forbids to raise a version, not to delete a key
            bench.source.publish(event("v.updated"))
            await until(lambda: "maxmemory" in bench.health.waiting().get("redis", ""))
            for number in range(1, 20):
                other.publish(order(number))
                await until(lambda at=number: other.settled == at)  # type: ignore[misc]
                assert "maxmemory" in bench.health.waiting()["redis"]
            now.config_set("maxmemory", "0")
            await until(lambda: bench.source.settled == 1)
        assert "redis" not in bench.health.waiting()


async def test_dead_letters_of_the_wrong_type_are_waited_for_by_name(
    rules: RuleSet, start_redis: StartRedis
) -> None:
    server = start_redis()
    with looking(server.url) as now:
        now.set("invalidator:dead", "somebody's")
        async with piping(rules, server.url) as bench:
            bench.source.publish(b"not json")
            await until(lambda: "invalidator:dead" in bench.health.waiting()["dead letters"])
            assert bench.source.settled == 0
            now.delete("invalidator:dead")
            await until(lambda: bench.source.settled == 1)
        assert len(dead_letters(now)) == 1


async def test_events_that_wait_for_the_dead_letters_stay_within_the_bound(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis", start_redis: StartRedis
) -> None:
    letters = start_redis()
    letters.kill()
    bound, limits = InFlight(20, 1 << 20), Limits(10, 1000)
    async with piping(
        rules, redis_url, state_url=letters.url, in_flight=bound, limits=limits
    ) as bench:
        redis_now.set("order:single:o1", "stale")
        bench.source.publish(*(b"not json" for _ in range(100)), order(1))
        await until(lambda: bound.room() == 0)
        assert bench.source.settled == 0
        letters.start()
        await until(lambda: bench.source.settled == 101)
        assert bound.room() == 20
    assert redis_now.dbsize() == 0
    with looking(letters.url) as now:
        assert len(dead_letters(now)) == 100


async def test_the_next_batch_is_read_and_planned_while_one_is_applied(
    rules: RuleSet, start_redis: StartRedis
) -> None:
    server = start_redis()
    async with piping(rules, server.url, limits=Limits(10, 1000), timeout=5) as bench:
        bench.source.publish(order(0))
        await until(lambda: bench.source.settled == 1)
        server.freeze()
        bench.source.publish(*(order(n) for n in range(1, 100)))
        await until(lambda: bench.in_flight.room() == 10_000 - 30)  # applied, planned, in hand
        assert bench.source.settled == 1
        server.thaw()
        await until(lambda: bench.source.settled == 100)


class Counting(MemorySource):
    """Remembers how much it was asked for, and how often it was kept alive."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []
        self.kept_alive = 0

    async def read(self, limit: int) -> Batch | None:
        self.limits.append(limit)
        return await super().read(limit)

    async def keep_alive(self) -> None:
        self.kept_alive += 1


async def test_work_in_flight_stays_within_its_bound_and_the_source_is_kept_alive(
    rules: RuleSet, start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.pipeline.pipeline.KEEP_ALIVE_EVERY", 0.02)
    server = start_redis()
    source = Counting()
    bound = InFlight(15, 1 << 20)
    async with piping(
        rules, server.url, source=source, in_flight=bound, limits=Limits(10, 1000)
    ) as bench:
        server.freeze()
        bench.source.publish(*(order(n) for n in range(50)))
        await until(lambda: source.kept_alive > 3)
        assert source.limits[:2] == [10, 5]
        assert bound.room() == 0
        server.thaw()
        await until(lambda: bench.source.settled == 50)


class Unhurried(MemorySource):
    """Its `keep_alive` takes until all work in flight is done."""

    def __init__(self, in_flight: InFlight, begun: Callable[[], None]) -> None:
        super().__init__()
        self.in_flight = in_flight
        self.begun = begun
        self.empty = in_flight.room()

    async def keep_alive(self) -> None:
        self.begun()
        await until(lambda: self.in_flight.room() == self.empty)


async def test_room_that_comes_while_the_source_is_kept_alive_is_used(
    rules: RuleSet, start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.pipeline.pipeline.KEEP_ALIVE_EVERY", 0.02)
    server = start_redis()
    bound = InFlight(10, 1 << 20)
    source = Unhurried(bound, server.thaw)
    async with piping(rules, server.url, source=source, in_flight=bound, timeout=5) as bench:
        server.freeze()
        bench.source.publish(*(order(n) for n in range(50)))
        await until(lambda: bench.source.settled == 50)


async def test_a_batch_larger_than_the_byte_bound_is_still_read_alone(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis"
) -> None:
    async with piping(rules, redis_url, in_flight=InFlight(1000, 1)) as bench:
        bench.source.publish(*(order(n) for n in range(20)))
        await until(lambda: bench.source.settled == 20)
        bench.source.publish(order(20))
        await until(lambda: bench.source.settled == 21)
    assert redis_now.dbsize() == 0


async def test_a_batch_keeps_the_rules_it_was_read_with(
    rules: RuleSet, start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    new = rules_from(RULES.replace("audit:", "audit2:"), tmp_path)
    async with piping(rules, server.url, limits=Limits(1, 1000), timeout=5) as bench:
        with looking(server.url) as now:
            now.mset({"audit:o1": 1, "audit2:o1": 1, "audit2:o9": 1})
        server.freeze()
        bench.source.publish(order(1), order(2))
        await until(lambda: bench.in_flight.room() == 9_998)
        bench.rules = new
        server.thaw()
        await until(lambda: bench.source.settled == 2)
        bench.source.publish(order(9))
        await until(lambda: bench.source.settled == 3)
        with looking(server.url) as now:
            assert now.keys() == [b"audit2:o1"]


async def test_a_stop_settles_what_was_read(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis"
) -> None:
    async with piping(rules, redis_url, limits=Limits(7, 1000)) as bench:
        bench.source.publish(*(order(n) for n in range(100)))
        await until(lambda: bench.source.settled > 0)
        bench.pipeline.stop()
        await asyncio.wait_for(bench.running, 60)
        assert bench.source.settled == 100
    assert redis_now.dbsize() == 0


class Asked(MemorySource):
    """Remembers how many events it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []

    async def read(self, limit: int) -> Batch | None:
        self.limits.append(limit)
        return await super().read(limit)


async def test_batches_are_smaller_where_events_name_much(redis_url: str, tmp_path: Path) -> None:
    text = "rules: [{name: r, on: order.updated, invalidate: {keys: 'item:{items[]}'}}]"
    rules, source = rules_from(text, tmp_path), Asked()
    limits = Limits(10, 10_000, names=100)
    async with piping(rules, redis_url, source=source, limits=limits):
        for n in range(20):
            source.publish(event(items=[f"{n}-{at}" for at in range(50)]))
        await until(lambda: source.settled == 20)
        assert list(dict.fromkeys(source.limits)) == [10, 2]
        source.publish(*(event(items=["one"]) for _ in range(20)))
        await until(lambda: source.settled == 40)
        await until(lambda: source.limits[-1] == 10)


async def test_a_batch_that_names_too_much_is_applied_in_portions_and_settled_at_the_end(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    text = "rules: [{name: r, on: order.updated, invalidate: {keys: 'item:{items[]}'}}]"
    rules, source = rules_from(text, tmp_path), MemorySource()
    source.publish(*(event(items=[f"{n}-{at}" for at in range(50)]) for n in range(20)), b"bad")
    limits = Limits(100, 10_000, name_bytes=10_000)
    async with piping(rules, server.url, source=source, limits=limits, timeout=5) as bench:
        with looking(server.url) as now, capture_logs() as logs:
            await until(lambda: source.settled == 21)
            await until(lambda: bench.in_flight.room() == 10_000)
            assert now.info("commandstats")["cmdstat_unlink"]["calls"] >= 10
            assert len(dead_letters(now)) == 1
    portions = [line for line in logs if line["event"] == "batch"]
    assert len(portions) >= 10
    assert sum(line["events"] for line in portions) == 21


async def test_a_key_that_two_rules_name_is_deleted_once(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    rules = rules_from(RULES.replace("audit:{", "order:single:{"), tmp_path)
    redis_now.config_resetstat()
    async with piping(rules, redis_url) as bench:
        bench.source.publish(*(order(1) for _ in range(50)))
        await until(lambda: bench.source.settled == 50)
    stats = redis_now.info("commandstats")
    assert stats["cmdstat_unlink"]["calls"] == 1


async def test_a_dead_letter_names_every_rule_of_its_event_that_failed(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    text = RULES + ("  - {name: never, on: order.updated, invalidate: {keys: ['n:{nothing}']}}\n")
    server = start_redis(
        config={"user": "default on nopass +@all ~order:* ~orders:* ~invalidator:*"}
    )
    async with piping(rules_from(text, tmp_path), server.url) as bench:
        bench.source.publish(order(1))
        await until(lambda: bench.source.settled == 1)
    with looking(server.url) as now:
        (letter,) = dead_letters(now)
    assert {(f["rule"], f["error"]) for f in letter["faults"]} == {
        ("never", "missing-field"),
        ("order-audit", "noperm"),
    }
    assert orjson.loads(letter["raw"])["data"]["orderId"] == "o1"


FLAP = ["server-unavailable", "server-available"]


class Closed(MemorySource):
    """Connects, and refuses to be read, as a Redis does that has become a replica."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses, self.reads = False, 0

    async def read(self, limit: int) -> Batch | None:
        self.reads += 1
        if self.refuses:
            raise Unavailable(self.name, "is a replica", "readonly")
        return await super().read(limit)


async def test_a_source_that_connects_and_cannot_be_read_is_asked_ever_less_often(
    rules: RuleSet, redis_url: str, redis_now: "redis.Redis"
) -> None:
    source = Closed()
    with capture_logs() as logs:
        async with piping(rules, redis_url, source=source) as bench:
            source.refuses = True
            source.publish(order(1))
            before = source.reads
            began = asyncio.get_running_loop().time()
            await until(lambda: source.reads > before + 5)
            assert asyncio.get_running_loop().time() - began > 0.3
            assert "replica" in bench.health.waiting()[source.name]
            source.refuses = False
            await until(lambda: source.settled == 1)
            assert source.name not in bench.health.waiting()
    said = [entry["event"] for entry in logs if entry.get("part") == source.name]
    assert said in (FLAP, FLAP * 2), "it does not flap"


class Hanging(Closed):
    """Connects, tells that it was away, and hangs up."""

    async def open(self) -> None:
        self.tells = True

    async def read(self, limit: int) -> Batch | None:
        if self.refuses and self.tells:
            self.tells = False
            return Batch(self.name, [], 0, 0, Ends(0, 0))
        return await super().read(limit)


async def test_a_source_that_says_that_it_was_away_and_hangs_up_again_was_not_read(
    rules: RuleSet, redis_url: str
) -> None:
    source = Hanging()
    async with piping(rules, redis_url, source=source) as bench:
        source.refuses = True
        before = source.reads
        began = asyncio.get_running_loop().time()
        await until(lambda: source.reads > before + 5)
        assert asyncio.get_running_loop().time() - began > 0.3
        assert source.name in bench.health.waiting()
        source.refuses = False
