"""Patterns, tags, versions and second passes, from an event to what is gone."""

import asyncio
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from invalidator.model import Batch
from invalidator.pipeline.inflight import InFlight, Limits
from invalidator.redisclient import client
from invalidator.runtime.health import Health
from invalidator.targets.redis.host import Host
from invalidator.targets.store import Store
from tests.backends import until
from tests.conftest import StartRedis
from tests.integration.piping import (
    AllowKeys,
    dead_letters,
    event,
    looking,
    piping,
    rules_from,
    run,
)
from tests.memory_source import MemorySource

if TYPE_CHECKING:
    import redis

RULES = """
version: 1
caches:
  default:
    tags: [{layout: set}, {layout: stamp}, {layout: sorted-set, key: "z:{tag}"}]
    protect: ["orders:list:*:lock"]
rules:
  - name: order
    on: order.updated
    allow_broad: true
    invalidate:
      keys: ["order:{id}"]
      patterns: ["orders:list:{customer}:*"]
      tags: ["customer:{customer}"]
      versions: ["orders"]
  - {name: late, on: late.updated, repeat_after: 300ms, invalidate: {keys: ["late:{id}"]}}
  - name: sweep
    on: list.updated
    allow_broad: true
    invalidate: {patterns: ["orders:list:{customer}:*"]}
"""


def order(customer: str = "c1") -> bytes:
    return event(id="o1", customer=customer)


async def test_every_kind_of_name_is_applied_before_its_event_is_settled(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis_now.mset({"order:o1": 1, "orders:list:c1:1": 1, "orders:list:c2:1": 1, "m1": 1, "m2": 1})
    redis_now.mset({"orders:list:c1:lock": 1, "invalidator:stamp:customer:c1": "token", "m3": 1})
    redis_now.sadd("tag:customer:c1", "m1", "m2")
    redis_now.zadd("z:customer:c1", {"m3": 1})
    redis_now.set("cache:version:orders", 7)
    async with piping(rules_from(RULES, tmp_path), redis_url) as bench:
        bench.source.publish(order())
        await until(lambda: bench.source.settled == 1)
        left = {b"orders:list:c2:1", b"orders:list:c1:lock", b"cache:version:orders"}
        assert set(redis_now.keys()) == left
    assert int(redis_now.get("cache:version:orders") or 0) > 1_000_000_000


async def test_a_value_cannot_widen_a_pattern(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis_now.mset({"orders:list:c1:1": 1, "orders:list:*:1": 1})
    async with piping(rules_from(RULES, tmp_path), redis_url) as bench:
        bench.source.publish(event("list.updated", customer="*"))
        await until(lambda: bench.source.settled == 1)
    assert redis_now.keys("orders:*") == [b"orders:list:c1:1"]


async def test_a_second_pass_deletes_what_was_refilled_and_only_then_settles(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with piping(rules_from(RULES, tmp_path), redis_url) as bench:
        redis_now.set("late:1", "old")
        bench.source.publish(event("late.updated", id=1))
        await until(lambda: not redis_now.exists("late:1"))
        redis_now.set("late:1", "refilled from a lagging replica")
        assert bench.source.settled == 0
        await until(lambda: bench.source.settled == 1)
        assert redis_now.exists("late:1") == 0


class Watched(MemorySource):
    """Knows whether the records of its batches are still held by somebody."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[weakref.ref[object]] = []

    async def read(self, limit: int) -> Batch | None:
        batch = await super().read(limit)
        self.records += [weakref.ref(part.record) for part in batch.slices] if batch else []
        return batch


async def test_a_batch_that_waits_for_its_second_pass_holds_no_records(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    source = Watched()
    rules = rules_from(RULES.replace("300ms", "2s"), tmp_path)
    async with piping(rules, redis_url, source=source) as bench:
        for number in range(3):
            redis_now.set(f"late:{number}", 1)
            bench.source.publish(event("late.updated", id=number))
            await until(lambda: redis_now.dbsize() == 0)
        await until(lambda: [record() for record in source.records[:-1]] == [None, None])
        assert bench.source.settled == 0


async def test_names_that_wait_for_their_second_pass_count_as_in_flight(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    in_flight = InFlight(10_000, 2000)
    rules = rules_from(RULES, tmp_path)
    with capture_logs() as logs:
        async with piping(rules, redis_url, in_flight=in_flight, limits=Limits(5, 1000)) as bench:
            bench.source.publish(*(event("late.updated", id=n) for n in range(200)))
            most = 0

            def settled() -> bool:
                nonlocal most
                most = max(most, in_flight.bytes)
                return bench.source.settled == 200

            await until(settled)
            assert 1000 < most < 5000, "one batch over, and one that was planned"
            assert (in_flight.bytes, in_flight.room()) == (0, 10_000)
    assert len([entry for entry in logs if entry["event"] == "waiting-names-fill-memory"]) == 1


async def test_a_pipeline_whose_batches_all_wait_is_alive(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.pipeline.pipeline.KEEP_ALIVE_EVERY", 0.02)
    monkeypatch.setattr("invalidator.pipeline.settlement.MOST_WAITING", 1)
    rules = rules_from(RULES.replace("300ms", "1s"), tmp_path)
    async with piping(rules, redis_url, limits=Limits(1, 1000)) as bench:
        bench.health.stuck_after = 0.5
        bench.source.publish(*(event("late.updated", id=number) for number in range(6)))

        def settled_without_being_stuck() -> bool:
            assert bench.health.stuck() == []
            return bench.source.settled == 6

        await until(settled_without_being_stuck)


async def test_patterns_that_too_many_wait_for_hold_up_intake_and_the_reason_is_said(
    start_redis: StartRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.targets.redis.host.MOST_PATTERNS", 3)
    server = start_redis()
    async with piping(rules_from(RULES, tmp_path), server.url, limits=Limits(2, 1000)) as bench:
        with looking(server.url) as now:
            run(now, "ACL", "SETUSER", "default", "-scan")
            for number in range(10):
                bench.source.publish(event("list.updated", customer=f"c{number}"))
            crowded = "too many patterns are waiting for the next sweep"
            await until(lambda: crowded in bench.health.waiting().get("redis", ""))
            await until(lambda: "scan" in bench.health.waiting().get("sweeps", "").lower())
            assert bench.source.settled == 0
            run(now, "ACL", "SETUSER", "default", "+scan")
            await until(lambda: bench.source.settled == 10)
        assert bench.health.waiting().keys() <= {"dead letters"}  # they were not needed


async def test_batches_behind_one_that_waits_for_a_sweep_are_applied_and_settled_after_it(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    with looking(server.url) as now:
        for at in range(0, 60_000, 10_000):
            now.mset({f"filler:{n}": 1 for n in range(at, at + 10_000)})
        async with piping(rules_from(RULES, tmp_path), server.url) as bench:
            now.set("orders:list:c1:1", 1)
            bench.source.publish(event("list.updated", customer="c1"))
            await until(lambda: bench.source.settled == 0 and bench.in_flight.room() == 10_000)
            now.set("late:7", 1)
            bench.source.publish(*(event("late.updated", id=n) for n in range(50)))
            await until(lambda: not now.exists("late:7"))
            await until(lambda: bench.source.settled == 51)
            assert now.exists("orders:list:c1:1") == 0


async def test_sweeps_spare_what_the_newest_rules_protect_also_for_events_of_the_old_ones(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis_now.mset({"a:1": "x", "a:lock": "x"})
    old = rules_from("rules: [{name: a, on: a, invalidate: {patterns: ['a:*']}}]", tmp_path)
    new = rules_from(
        "caches: {default: {protect: ['a:lock']}}\n"
        "rules: [{name: a, on: a, invalidate: {keys: b}}]",
        tmp_path,
    )
    health = Health()
    async with client(redis_url, 2.0) as redis:
        store = Store(Host(redis, "the cache", health.part("redis"), health.part("sweeps")))
        async with piping(old, redis_url, store=store) as bench:
            store.enforce(old.caches)
            store.enforce(new.caches)
            bench.source.publish(event("a"))
            await until(lambda: bench.source.settled == 1)
    assert redis_now.keys() == [b"a:lock"]
    redis_now.delete("a:lock")


async def test_a_tag_of_the_wrong_type_is_a_dead_letter_and_the_other_tags_go(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    redis_now.set("tag:customer:c1", "a string")
    redis_now.sadd("tag:customer:c2", "m2")
    redis_now.set("m2", 1)
    async with piping(rules_from(RULES, tmp_path), redis_url) as bench:
        bench.source.publish(order("c1"), order("c2"))
        await until(lambda: bench.source.settled == 2)
    assert redis_now.exists("m2") == 0
    (letter,) = dead_letters(redis_now)
    assert (letter["error"], letter["type"]) == ("wrongtype", "order.updated")
    assert letter["faults"][0]["what"] == "customer:{customer}"


async def test_a_version_that_is_no_number_is_a_dead_letter(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    redis_now.set("cache:version:orders", "v1")
    async with piping(rules_from(RULES, tmp_path), redis_url) as bench:
        bench.source.publish(order())
        await until(lambda: bench.source.settled == 1)
    (letter,) = dead_letters(redis_now)
    assert letter["faults"][0]["what"] == "orders"
    assert redis_now.get("cache:version:orders") == b"v1"


async def test_keys_that_a_sweep_may_not_delete_are_told_once_in_dead_letters(
    start_redis: StartRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.targets.redis.walk.SAMPLE", 1)
    server = start_redis(
        config={"user": "default on nopass +@all ~orders:list:c1:a ~invalidator:* ~late:*"}
    )
    limits = Limits(1, 1000)  # many batches, which all wait for one sweep
    async with piping(rules_from(RULES, tmp_path), server.url, limits=limits) as bench:
        with looking(server.url) as now:
            now.set("orders:list:c1:a", 1)
            now.set("late:1", 1)
        bench.source.publish(event("late.updated", id=1))
        await until(lambda: bench.source.settled == 1)
        await _set_as_admin(server.url, *(f"orders:list:c1:{letter}" for letter in "bcd"))
        bench.source.publish(*[event("list.updated", customer="c1")] * 20)
        await until(lambda: bench.source.settled == 21)
    with looking(server.url) as now:
        letters = dead_letters(now)
    assert {letter["error"] for letter in letters} == {"noperm"}
    assert "orders:list:c1:" in letters[0]["message"]
    assert "2 more keys" in letters[1]["message"]
    assert len(letters) < 20, "a few sweeps serve all, and each is told of once"


async def _set_as_admin(url: str, *keys: str) -> None:
    """Keys that the daemon's user may see, but not delete."""
    with looking(url) as now:
        run(now, "ACL", "SETUSER", "admin", "on", ">pw", "+@all", "~*")
    with looking(url.replace("redis://", "redis://admin:pw@")) as now:
        now.mset(dict.fromkeys(keys, 1))


async def test_a_stop_waits_for_the_second_pass(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with piping(rules_from(RULES, tmp_path), redis_url) as bench:
        bench.source.publish(event("late.updated", id=1))
        await until(lambda: bench.in_flight.room() == 10_000 and bench.source.settled == 0)
        bench.pipeline.stop()
        await asyncio.wait_for(bench.running, 60)
        assert bench.source.settled == 1
    assert redis_now.dbsize() == 0


class Forgetful(MemorySource):
    """Never gives again what was not acknowledged."""

    forgets = True


@pytest.mark.parametrize("source", [MemorySource(), Forgetful()], ids=["gives again", "forgets"])
async def test_a_second_pass_that_a_stop_cannot_wait_for_leaves_its_batch_and_those_behind(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, source: MemorySource
) -> None:
    rules = rules_from(RULES.replace("300ms", "1h"), tmp_path)
    with capture_logs() as logs:
        async with piping(rules, redis_url, source=source, limits=Limits(1, 1000)) as bench:
            redis_now.mset({"order:o1": 1, "late:1": 1})
            bench.source.publish(order(), event("late.updated", id=1), order())
            await until(lambda: bench.source.settled == 1 and redis_now.dbsize() == 1)
            await until(lambda: bench.in_flight.room() == 10_000)
            redis_now.set("late:1", "refilled")
            bench.pipeline.stop(within=600)
            await asyncio.wait_for(bench.running, 60)
    early = [entry["batches"] for entry in logs if entry["event"] == "second-passes-early"]
    if source.forgets:  # better now than never
        assert (bench.pipeline.unsettled, source.settled, early) == (0, 3, [1])
        assert redis_now.exists("late:1") == 0
    else:
        assert (bench.pipeline.unsettled, source.settled, early) == (2, 1, [])
        assert redis_now.getdel("late:1") == b"refilled"
    redis_now.delete("cache:version:orders")
