"""Caches on several Redis servers: one batch, settled when all of them have applied it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from invalidator.model import Cause, Names
from invalidator.rules import Cache
from invalidator.runtime.health import Health
from invalidator.settings import load
from invalidator.targets.build import gate, store_of
from invalidator.targets.store import Store
from tests.backends import until
from tests.conftest import StartRedis
from tests.integration.piping import event, looking, piping, rules_from

if TYPE_CHECKING:
    import redis

RULES = """
version: 1
caches:
  default: {prefix: "main:"}
  orders-EU: {prefix: "eu:", protect: ["eu:lock:*"]}
  users: {}
rules:
  - {name: a, on: x.y, invalidate: {keys: ["k:{id}"]}}
  - {name: b, on: x.y, cache: orders-EU, allow_broad: true,
     invalidate: {keys: ["k:{id}"], patterns: ["*"], tags: ["t"]}}
  - {name: c, on: x.y, cache: users, invalidate: {keys: ["k:{id}"]}}
"""
CAUSE = Cause("test")


@asynccontextmanager
async def stored(health: Health, **settings: str) -> AsyncIterator[Store]:
    store = store_of(load(redis_timeout="300ms", **settings), health)
    try:
        yield store
    finally:
        await store.close()


async def test_each_cache_is_invalidated_on_its_own_redis_and_others_on_the_main_one(
    start_redis: StartRedis, redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    other, health = start_redis(), Health()
    redis_now.mset({"main:k:1": 1, "eu:k:1": 1, "k:1": 1})
    with looking(other.url) as there:
        there.mset({"main:k:1": 1, "eu:k:1": 1, "k:1": 1, "eu:lock:1": 1, "m": 1})
        there.sadd("tag:t", "m")
        async with (
            stored(health, redis_url=redis_url, caches__orders_eu=other.url) as store,
            piping(rules_from(RULES, tmp_path), redis_url, store=store, gate="caches") as bench,
        ):
            bench.source.publish(event("x.y", id=1))
            await until(lambda: bench.source.settled == 1)
        assert redis_now.keys() == [b"eu:k:1"]
        assert set(there.keys()) == {b"main:k:1", b"k:1", b"eu:lock:1"}


async def test_a_batch_waits_for_a_redis_that_is_away_and_readiness_says_for_which(
    start_redis: StartRedis, redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    other, health = start_redis(), Health()
    async with (
        stored(health, redis_url=redis_url, caches__users=other.url) as store,
        piping(
            rules_from(RULES, tmp_path), redis_url, store=store, gate=gate(store), health=health
        ) as bench,
    ):
        await store.probe()
        other.kill()
        redis_now.set("main:k:1", 1)
        bench.source.publish(event("x.y", id=1))
        await until(lambda: not redis_now.exists("main:k:1"))
        await until(lambda: "cache users" in health.waiting())
        assert health.parts["redis"].reason == ""
        await until(lambda: str(other.port) in health.waiting().get("caches", ""))
        # what is done on the one that answers is not done again with every try
        redis_now.set("main:k:1", "fresh")
        since = health.parts["cache users"].since
        await until(lambda: health.clock() - since > 0.5)
        assert redis_now.exists("main:k:1")
        assert bench.source.settled == 0
        other.start()
        await until(lambda: bench.source.settled == 1)
        assert health.waiting().keys() <= {"dead letters"}  # nobody asked those


async def test_caches_with_the_same_url_share_a_server(redis_url: str) -> None:
    health = Health()
    async with stored(
        health,
        redis_url=redis_url,
        caches__a=redis_url,
        caches__b="redis://b:1/0",
        caches__c="redis://b:1/0",
    ) as store:
        assert len(store.hosts) == 2
        assert {"redis", "cache b, c"} <= set(health.parts)


async def test_with_one_redis_the_gate_is_that_redis(redis_url: str) -> None:
    async with stored(Health(), redis_url=redis_url) as store:
        assert gate(store) == "redis"


async def test_an_unknown_error_of_one_server_is_not_taken_for_one_that_is_away(
    start_redis: StartRedis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours must end the process, however many servers are away besides."""
    async with stored(Health(), redis_url=redis_url, caches__b="redis://127.0.0.1:1/0") as store:

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(store.hosts[0], "_apply", broken)
        caches = {"default": Cache(), "b": Cache("b")}
        names = {name: Names(keys={"k"}) for name in caches}
        with pytest.raises(ZeroDivisionError):
            await store.application(names, caches, CAUSE).apply_names()
