"""Events whose rules name Redis and the edge: what comes first, and what is acknowledged when."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from invalidator.runtime.health import Health
from tests.backends import until
from tests.backends.edge_apis import TOKEN, Answer, CloudflareApi, EdgeApi
from tests.integration.edge.purging import stored
from tests.integration.piping import AllowKeys, dead_letters, event, piping, rules_from

if TYPE_CHECKING:
    import redis

RULES = """
caches:
  pages: {target: cloudflare}
rules:
  - {name: entry, on: x.y, invalidate: {keys: "k:{id}"}}
  - {name: list, on: x.list, invalidate: {patterns: "list:{id}:*"}}
  - {name: pages, on: "x.*", cache: pages, repeat_after: REPEAT, invalidate: {tags: "t:{id}"}}
  - {name: urls, on: x.url, cache: pages, repeat_after: 0s, invalidate: {keys: "https://{host}/"}}
"""


def rules(folder: Path, repeat_after: str = "0s") -> Any:
    return rules_from(RULES.replace("REPEAT", repeat_after), folder)


async def test_redis_forgets_first_and_does_not_wait_for_an_edge_that_is_down(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    health, api = Health(), CloudflareApi()
    async with (
        stored(api.url, TOKEN, health, redis_url=redis_url, edge__rate="100/s") as store,
        piping(rules(tmp_path), redis_url, store=store, health=health) as bench,
    ):
        for number in range(3):
            redis_now.set(f"k:{number}", "old")
            bench.source.publish(event("x.y", id=number))
            await until(lambda: not redis_now.keys("k:*"))
        await until(lambda: "Connect call failed" in health.waiting().get("cache pages", ""))
        assert bench.source.settled == 0
        with api:
            await until(lambda: bench.source.settled == 3)
        assert sorted(api.purged) == ["t:0", "t:1", "t:2"]
        assert redis_now.keys() == []


async def test_the_edge_waits_for_the_sweep_of_patterns(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    there: list[object] = []

    def look(api: EdgeApi, request: Any) -> Answer:
        there.append(redis_now.exists("list:1:a"))
        return api.answered(request)

    with CloudflareApi() as api:
        api.fault = look
        async with (
            stored(api.url, TOKEN, redis_url=redis_url, edge__rate="100/s") as store,
            piping(rules(tmp_path), redis_url, store=store) as bench,
        ):
            redis_now.set("list:1:a", "old")
            bench.source.publish(event("x.list", id=1))
            await until(lambda: bench.source.settled == 1)
    assert there == [0]


async def test_the_second_pass_is_counted_from_when_the_edge_has_taken_the_first(
    redis_url: str, tmp_path: Path
) -> None:
    api = CloudflareApi()
    async with (
        stored(api.url, TOKEN, redis_url=redis_url, edge__rate="100/s") as store,
        piping(rules(tmp_path, "1s"), redis_url, store=store) as bench,
    ):
        bench.source.publish(event("x.z", id=1))
        edge = store.edge(bench.rules.caches["pages"])
        assert edge
        await until(lambda: edge.busy and bench.pipeline.tickets)
        began = bench.health.clock()
        await until(lambda: bench.health.clock() - began > 1.0)  # it would be due by now
        with api:
            await until(lambda: api.purged == ["t:1"])
            taken = bench.health.clock()
            assert bench.source.settled == 0
            await until(lambda: bench.source.settled == 1)
            assert bench.health.clock() - taken > 0.9
    assert api.purged == ["t:1", "t:1"]


async def test_what_an_edge_never_takes_becomes_a_dead_letter(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    with CloudflareApi() as api:
        async with (
            stored(api.url, TOKEN, redis_url=redis_url, edge__rate="100/s") as store,
            piping(rules(tmp_path), redis_url, store=store) as bench,
        ):
            bad = event("x.y", id="two words")
            bench.source.publish(bad, event("x.y", id=2))
            await until(lambda: bench.source.settled == 2)
            bench.source.publish(event("x.url", id=3, host="foreign.test"))
            await until(lambda: bench.source.settled == 3)
    found, refused = dead_letters(redis_now)
    assert found["raw"] == bad
    assert [fault["rule"] for fault in found["faults"]] == ["pages"]
    assert "printable ASCII" in found["faults"][0]["message"]
    assert not refused.get("raw")
    said = "'https://foreign.test/' of cache 'pages' may be stale: it answered 400"
    assert said in refused["faults"][0]["message"]
    assert set(api.purged) == {"t:2", "t:3"}
