"""Rules that hit nothing, on a real Redis: told of, while the others are not."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from invalidator.pipeline.samples import Hits
from invalidator.targets.store import Store
from tests.backends import until
from tests.conftest import StartRedis
from tests.integration.piping import event, looking, piping, rules_from, run

if TYPE_CHECKING:
    import redis

RULES = """
caches:
  default: {tags: [{layout: set}, {layout: set, key: "cache:tag:{tag}"}]}
rules:
  - name: right
    on: changed
    allow_broad: true
    invalidate: {keys: ["order:{id}"], tags: ["o{id}"], patterns: ["list:{id}:*"]}
  - name: wrong
    on: changed
    allow_broad: true
    invalidate: {keys: ["ordr:{id}"], tags: ["x{id}"], patterns: ["lists:{id}:*"]}
  - {name: version, on: changed, invalidate: {versions: ["v{id}"]}}
"""
KINDS = {"keys", "tags", "patterns"}


def eager(store: Store) -> Hits:
    # at each batch, however long the last look took
    return Hits(store, share=math.inf, enough=5)


def fill(now: "redis.Redis", number: int) -> None:
    now.mset({f"order:{number}": 1, f"list:{number}:a": 1, "m": 1})
    now.sadd(f"cache:tag:o{number}", "m")


async def test_each_kind_of_name_that_never_hits_is_told_of_and_what_hits_is_not(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with piping(rules_from(RULES, tmp_path), redis_url, hits=eager) as bench:
            for number in range(12):
                fill(redis_now, number)
                bench.source.publish(event("changed", id=number))
                await until(lambda: bench.source.settled == number + 1)  # noqa: B023
    told = [(entry["rule"], entry["kind"]) for entry in logs if entry["event"] == "never-hit"]
    assert sorted(told) == sorted(("wrong", kind) for kind in KINDS)


async def test_a_user_that_may_not_look_still_deletes(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    with looking(server.url) as now, capture_logs() as logs:
        run(now, "ACL", "SETUSER", "u", "on", ">p", "+@all", "-exists", "~*", "&*")
        keys = (
            "rules: [{name: wrong, on: changed, invalidate: {keys: ['ordr:{id}', 'order:{id}']}}]"
        )
        url = server.url.replace("redis://", "redis://u:p@")
        async with piping(rules_from(keys, tmp_path), url, hits=eager) as bench:
            for number in range(12):
                fill(now, number)
                bench.source.publish(event("changed", id=number))
            await until(lambda: bench.source.settled == 12)
        assert now.keys("order:*") == []
    assert [entry["event"] for entry in logs if entry["event"] == "never-hit"] == []
