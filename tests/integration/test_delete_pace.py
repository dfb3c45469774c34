"""The limit on deletes, from settings to a Redis: events, tags and sweeps alike."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from tests.backends import until
from tests.integration.piping import event, piping, rules_from
from tests.integration.test_several_redis import stored

if TYPE_CHECKING:
    import redis

RULES = """
rules:
  - {name: key, on: key.updated, invalidate: {keys: ["k:{id}"]}}
  - {name: tag, on: tag.updated, invalidate: {tags: ["{id}"]}}
  - {name: pattern, on: pattern.updated, invalidate: {patterns: ["p:{id}:*"]}}
"""


async def test_keys_members_of_tags_and_what_a_sweep_finds_are_paced_together(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis_now.mset({f"k:{n}": 1 for n in range(100)} | {f"p:1:{n}": 1 for n in range(100)})
    redis_now.mset({f"m{n}": 1 for n in range(100)})
    redis_now.sadd("tag:1", *(f"m{n}" for n in range(100)))
    health = Health(stuck_after=0.4)
    settings = {"redis_url": redis_url, "max_deletes_per_second": "250"}
    before = metrics.BRAKED._value.get()
    async with (
        stored(health, **settings) as store,
        piping(rules_from(RULES, tmp_path), redis_url, store=store, health=health) as bench,
    ):
        began = time.monotonic()
        bench.source.publish(*(event("key.updated", id=n) for n in range(100)))
        bench.source.publish(event("tag.updated", id=1), event("pattern.updated", id=1))

        def done_and_never_stuck() -> bool:
            # Held back on purpose is no standstill. The intake beats by itself, seldom.
            assert not [name for name in health.stuck() if "outflow" in name]
            return bench.source.settled == 102

        await until(done_and_never_stuck)
        assert time.monotonic() - began > (300 - 25) / 250 - 0.1
    assert redis_now.dbsize() == 0
    assert metrics.BRAKED._value.get() - before > 0.5


async def test_too_many_deletes_raise_an_alarm_and_go_on(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis_now.mset({f"p:1:{n}": 1 for n in range(100)})
    before = metrics.ALARMS._value.get()
    async with (
        stored(Health(), redis_url=redis_url, alarm_deletes="50") as store,
        piping(rules_from(RULES, tmp_path), redis_url, store=store) as bench,
    ):
        bench.source.publish(event("pattern.updated", id=1))
        await until(lambda: bench.source.settled == 1)
    assert redis_now.dbsize() == 0
    assert metrics.ALARMS._value.get() - before == 1
