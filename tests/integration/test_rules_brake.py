"""Bad rules do not empty a topic into the dead letters, and other topics flow meanwhile."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from invalidator.pipeline.inflight import Limits
from invalidator.redisclient import client
from invalidator.rules import RuleSet
from invalidator.runtime.health import Health, Part
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.pubsub.source import PubSubSource
from invalidator.sources.source import Start
from invalidator.sources.stream.source import StreamSource
from tests.backends import until
from tests.backends.kafka_client import Kafka, unique
from tests.conftest import StartRedis
from tests.integration.piping import AllowKeys, dead_letters, event, order, piping, rules_from
from tests.integration.test_kafka_source import QUICK
from tests.memory_source import MemorySource

if TYPE_CHECKING:
    import redis

GOOD = """
rules:
  - {name: order-changed, on: order.updated, invalidate: {keys: ["order:single:{orderId}"]}}
"""
BAD = GOOD.replace("{orderId}", "{orderID}")
ORDERS = [order(number) for number in range(200)]
KEYS = [f"order:single:o{number}" for number in range(200)]


@pytest.fixture
def good(tmp_path: Path) -> RuleSet:
    return rules_from(GOOD, tmp_path)


@pytest.fixture
def bad(tmp_path: Path) -> RuleSet:
    (tmp_path / "bad").mkdir()
    return rules_from(BAD, tmp_path / "bad")


@pytest.fixture
def stale(redis_now: "redis.Redis", allow_keys: AllowKeys) -> "redis.Redis":
    allow_keys("invalidator:dead")
    redis_now.mset(dict.fromkeys(KEYS, "stale"))
    return redis_now


def likely(health: Health) -> str:
    return health.waiting().get("rules", "")


# --- what happens to a topic ------------------------------------------------------------------


async def test_a_topic_that_rules_reject_is_paused_and_planned_again_by_fixed_ones(
    redis_url: str, stale: "redis.Redis", good: RuleSet, bad: RuleSet
) -> None:
    async with piping(bad, redis_url, brake=True, limits=Limits(150, 10_000)) as bench:
        bench.source.publish(*ORDERS)
        await until(lambda: likely(bench.health))
        said = likely(bench.health)
        assert f"memory is paused: rules {bad.hash} rejected 150 of 150 events" in said
        assert bench.pipeline.braked == {"memory": f"rules {bad.hash} rejected 150 of 150 events"}
        bench.source.publish(order(0))  # it is not read
        assert bench.source.settled == 0
        assert bench.pipeline.oldest >= 0
        assert (bench.in_flight.room(), bench.in_flight.bytes) == (10_000, 0)
        bench.rules = good
        await until(lambda: bench.source.settled == 201)
        assert not likely(bench.health)
        assert bench.pipeline.braked == {}
    assert stale.keys() == []


async def test_rules_that_are_no_better_pause_it_again(
    redis_url: str, stale: "redis.Redis", good: RuleSet, bad: RuleSet, tmp_path: Path
) -> None:
    worse = rules_from(BAD.replace("orderID", "orderid"), tmp_path)
    async with piping(bad, redis_url, brake=True, limits=Limits(110, 10_000)) as bench:
        bench.source.publish(*ORDERS)
        await until(lambda: bad.hash in likely(bench.health))
        bench.rules = worse
        await until(lambda: worse.hash in likely(bench.health))
        assert dead_letters(stale) == []
        bench.rules = good
        await until(lambda: bench.source.settled == 200)
    assert stale.keys() == []


async def test_a_person_resumes_it_into_the_dead_letters(
    redis_url: str, stale: "redis.Redis", bad: RuleSet
) -> None:
    async with piping(bad, redis_url, brake=True) as bench:
        bench.source.publish(*ORDERS)
        await until(lambda: likely(bench.health))
        assert bench.pipeline.resume() == ["memory"]
        bench.source.publish(*ORDERS)
        await until(lambda: bench.source.settled == 400)
        assert not likely(bench.health)
    assert len(dead_letters(stale)) == 400
    stale.flushdb()


async def test_next_events_that_are_good_resume_it(
    redis_url: str, stale: "redis.Redis", good: RuleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.pipeline.reject_brake.FIRST_LOOK", 0.5)
    async with piping(good, redis_url, brake=True) as bench:
        bench.source.publish(*(event("order.updated", wrong=1) for _ in range(150)))
        await until(lambda: likely(bench.health))
        bench.source.publish(*ORDERS)
        await until(lambda: bench.source.settled == 350)
    assert len(dead_letters(stale)) == 150
    assert stale.keys() == [b"invalidator:dead"]


async def test_at_a_stop_what_is_paused_is_neither_acknowledged_nor_a_dead_letter(
    redis_url: str, stale: "redis.Redis", bad: RuleSet
) -> None:
    async with piping(bad, redis_url, brake=True) as bench:
        bench.source.publish(*ORDERS)
        await until(lambda: likely(bench.health))
        bench.pipeline.stop()
        await asyncio.wait_for(bench.running, 60)
        assert (bench.source.settled, bench.pipeline.unsettled) == (0, 1)
    assert dead_letters(stale) == []
    stale.flushdb()


class Forgetful(MemorySource):
    """As pub/sub: it keeps a window of what is paused, and is never asked again at a stop."""

    forgets = True


@pytest.mark.parametrize("overflowing", [True, False])
async def test_what_nobody_delivers_again_is_buried_at_a_stop_or_beyond_the_bound(
    redis_url: str, stale: "redis.Redis", bad: RuleSet, overflowing: bool
) -> None:
    source = Forgetful()
    async with piping(bad, redis_url, source=source, brake=True, limits=Limits(100, 10_000)) as b:
        source.publish(*ORDERS)
        await until(lambda: likely(b.health))
        assert dead_letters(stale) == []
        if overflowing:
            source.overflowing = frozenset({"memory"})
            await until(lambda: source.settled == 200)
        b.pipeline.stop()
        await asyncio.wait_for(b.running, 60)
        assert (source.settled, b.pipeline.unsettled) == (200, 0)
    assert len(dead_letters(stale)) == 200
    stale.flushdb()


async def test_what_was_in_flight_when_its_topic_is_paused_is_applied_and_read_again(
    stale: "redis.Redis", good: RuleSet, bad: RuleSet, start_redis: StartRedis
) -> None:
    server = start_redis()
    async with piping(good, server.url, brake=True, limits=Limits(100, 10_000), timeout=5) as bench:
        bench.source.publish(order(0))
        await until(lambda: bench.source.settled == 1)
        server.freeze()
        bench.source.publish(order(1))
        await until(lambda: bench.in_flight.room() == 9_999)
        bench.rules = bad
        bench.source.publish(*ORDERS[:100])
        await until(lambda: likely(bench.health))
        server.thaw()
        await until(lambda: bench.in_flight.room() == 10_000)
        assert bench.source.settled == 1, "it is passed over"
        bench.rules = good
        await until(lambda: bench.source.settled == 102)
    stale.flushdb()


async def test_events_that_no_rule_names_and_unreadable_ones_do_not_hide_bad_rules(
    redis_url: str, stale: "redis.Redis", bad: RuleSet
) -> None:
    others = [event("other")] * 300 + [b"not json"] * 300
    async with piping(bad, redis_url, brake=True) as bench:
        bench.source.publish(*ORDERS, *others)
        await until(lambda: likely(bench.health))
        assert bench.source.settled == 0
    stale.flushdb()


async def test_unreadable_events_raise_an_alarm_and_are_dead_letters(
    redis_url: str, stale: "redis.Redis", good: RuleSet
) -> None:
    with capture_logs() as logs:
        async with piping(good, redis_url, brake=True) as bench:
            bench.source.publish(*[b"not json"] * 150, *ORDERS[:100])
            await until(lambda: bench.source.settled == 250)
            assert not likely(bench.health)
    (alarm,) = [entry for entry in logs if entry["event"] == "unreadable-events"]
    assert (alarm["unreadable"], alarm["of"], alarm["log_level"]) == (150, 250, "error")
    assert len(dead_letters(stale)) == 150
    stale.flushdb()


# --- one of two --------------------------------------------------------------------------------

TWO = """
rules:
  - {name: orders, on: order.updated, source: ORDERS, invalidate: {keys: ["order:single:{FIELD}"]}}
  - {name: users, on: order.updated, source: USERS, invalidate: {keys: ["user:{orderId}"]}}
"""


def two(orders: str, users: str, field: str, folder: Path) -> RuleSet:
    text = TWO.replace("ORDERS", orders).replace("USERS", users).replace("FIELD", field)
    return rules_from(text, folder)


async def test_on_kafka_one_topic_is_paused_and_the_other_flows(
    kafka: Kafka, redis_url: str, stale: "redis.Redis", tmp_path: Path
) -> None:
    orders, users, group = kafka.topic(), kafka.topic(), unique("group")
    good, bad = (two(orders, users, field, tmp_path) for field in ("orderId", "orderID"))
    stale.mset({f"user:o{number}": "stale" for number in range(300)})
    kafka.produce(orders, ORDERS[:120])
    kafka.produce(users, [order(number) for number in range(150)])

    def committed(topic: str) -> int:
        return kafka.committed(group, topic).get(0, 0)

    def member() -> MemorySource:
        source = KafkaSource(
            Brokers([kafka.bootstrap]),
            [orders, users],
            group,
            start=Start("earliest"),
            part=Part("kafka"),
            max_wait=0.0,
            timing=QUICK,
        )
        return cast(MemorySource, source)

    async with piping(bad, redis_url, source=member(), brake=True, timeout=5) as one:
        await until(lambda: likely(one.health))
        kafka.produce(orders, ORDERS[120:])
        kafka.produce(users, [order(number) for number in range(150, 300)])
        await until(lambda: not stale.keys("user:*"), what="the other topic flows")
        await until(lambda: committed(users) == 300)
        assert committed(orders) == 0
        async with piping(bad, redis_url, source=member(), brake=True, timeout=5) as other:
            # a rebalance: the paused topic is read again by its new owner, and judged again
            await until(lambda: likely(other.health) or likely(one.health))
            assert committed(orders) == 0
            assert stale.exists(*KEYS) == 200
            one.rules = other.rules = good
            await until(lambda: committed(orders) == 200)
    assert stale.keys() == []


def _falls(seen: list[int], value: int) -> bool:
    seen.append(value)
    return value < seen[-2]


async def test_on_streams_one_is_paused_and_kept_and_the_other_flows(
    redis_url: str, stale: "redis.Redis", tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("orders", "users", "invalidator:planning:*")
    good, bad = (two("orders", "users", field, tmp_path) for field in ("orderId", "orderID"))
    stale.mset({f"user:o{number}": "stale" for number in range(300)})

    def publish(key: str, values: list[bytes]) -> None:
        for value in values:
            stale.xadd(key, {"event": value})

    def pending(key: str) -> Any:
        found: Any = stale.xpending(key, "caches")
        return found["pending"]

    def idle(key: str) -> int:
        """Milliseconds; so long ago somebody took the first of them up."""
        (first,) = cast(Any, stale).xpending_range(key, "caches", "-", "+", 1)
        return int(first["time_since_delivered"])

    publish("orders", ORDERS[:120])
    publish("users", [order(number) for number in range(150)])
    source: Any = StreamSource(
        client(redis_url, 1.0),
        ["orders", "users"],
        group="caches",
        consumer="one",
        start=Start("earliest"),
        timeout=1.0,
        max_wait=0.0,
        claim_after=0.4,
    )
    async with piping(bad, redis_url, source=source, brake=True) as bench:
        await until(lambda: likely(bench.health))
        publish("orders", ORDERS[120:])
        publish("users", [order(number) for number in range(150, 300)])
        await until(lambda: not stale.keys("user:*"), what="the other stream flows")
        await until(lambda: pending("users") == 0)
        assert pending("orders") >= 120, "given out, and not acknowledged"
        seen = [0]
        await until(lambda: _falls(seen, idle("orders")), what="it is taken up again by its owner")
        bench.rules = good
        await until(lambda: not stale.keys("order:*"))
        await until(lambda: pending("orders") == 0)
    assert dead_letters(stale) == []


async def test_on_pubsub_what_comes_meanwhile_is_kept_in_memory(
    redis_url: str, stale: "redis.Redis", tmp_path: Path
) -> None:
    good, bad = (two("orders", "users", field, tmp_path) for field in ("orderId", "orderID"))
    stale.mset({f"user:o{number}": "stale" for number in range(200)})
    source: Any = PubSubSource(
        client(redis_url, 1.0), ["orders", "users"], part=Part("pubsub"), buffer=1000, max_wait=0.0
    )
    async with piping(bad, redis_url, source=source, brake=True) as bench:
        await until(lambda: stale.pubsub_numsub("users")[0][1] == 1)
        for value in ORDERS[:120]:
            stale.publish("orders", value)
        await until(lambda: likely(bench.health))
        for value in ORDERS[120:]:
            stale.publish("orders", value)
        for value in ORDERS:
            stale.publish("users", value)
        await until(lambda: not stale.keys("user:*"), what="the other channel flows")
        bench.rules = good
        await until(lambda: stale.exists(*KEYS) <= len(dead_letters(stale)))
    letters = dead_letters(stale)
    assert len(letters) < 100, "those before the hundredth, where they came one by one"
    assert all(letter["origin"] == "orders" for letter in letters)
    stale.flushdb()
