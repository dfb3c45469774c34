"""What is counted as fresh and stale, on a real Redis."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from invalidator.cache import Cache
from invalidator.cache.entry import Frame, new_token
from invalidator.redisclient import client
from tests.backends import until
from tests.integration.freshness.conftest import measuring
from tests.integration.piping import AllowKeys, dead_letters, event

if TYPE_CHECKING:
    import redis

RULES = """
caches:
  default: {tags: [{layout: set}, {layout: sorted-set, key: "tag:z:{tag}"}]}
rules:
  - name: order
    on: order.updated
    invalidate: {keys: ["order:{id}"]}
    verify: {cached: version, event: version}
  - name: list
    on: list.updated
    invalidate: {patterns: ["list:{id}:*"]}
    verify: {cached: version, event: version}
  - name: customer
    on: customer.updated
    invalidate: {tags: ["c{id}"]}
    verify: {cached: version, event: version}
  - name: prices
    on: prices.updated
    invalidate: {versions: ["prices"]}
    verify: {cached: version, event: version}
  - name: entry
    on: entry.updated
    invalidate: {keys: ["entry:{id}"]}
    verify: {entry: version, event: version}
  - name: product
    on: product.updated
    invalidate: {keys: ["product:{id}"]}
    verify: {cached: price, url: "http://127.0.0.1/{id}"}
  - name: unverified
    on: other.updated
    invalidate: {keys: ["order:{id}"]}
"""


@pytest.fixture(autouse=True)
def _keys(allow_keys: AllowKeys) -> None:
    allow_keys(
        *("order:*", "list:*", "entry:*", "product:*", "tag:*", "cache:version:*"),
        "invalidator:*",
    )


async def test_an_absent_key_is_fresh_at_each_delay(redis_url: str, tmp_path: Path) -> None:
    async with measuring(RULES, redis_url, tmp_path) as measured:
        measured.bench.source.publish(event(id="1", version=1))
        await until(lambda: measured.counts() == {"fresh": 2})
        assert measured.freshness.waiting == 0


async def test_a_rule_without_verify_is_not_measured(redis_url: str, tmp_path: Path) -> None:
    async with measuring(RULES, redis_url, tmp_path) as measured:
        measured.bench.source.publish(event("other.updated", id="1", version=1))
        measured.bench.source.publish(event(id="2", version=1))
        await until(lambda: measured.counts() == {"fresh": 2})
        assert measured.freshness.tally.plain()[0]["rules"].keys() == {"order"}


@pytest.mark.parametrize(
    ("cached", "published", "outcome"),
    [
        (b'{"version": 1}', 2, "stale"),
        (b'{"version": 2}', 2, "fresh"),
        (b'{"version": 3}', 2, "fresh"),
        (b'{"version": "2026-01-01T10:00:00Z"}', "2026-01-01T12:00:01+02:00", "stale"),
        (b'{"version": "2026-01-01T10:00:00Z"}', "2026-01-01T12:00:00+02:00", "fresh"),
        (b'{"version": "2026-01-01T10:00:00Z"}', 2, "unreadable"),
        (b'{"other": 1}', 2, "unreadable"),
        (b"no json", 2, "unreadable"),
    ],
)
async def test_what_is_cached_is_compared_with_the_event(
    redis_url: str,
    redis_now: "redis.Redis",
    tmp_path: Path,
    cached: bytes,
    published: object,
    outcome: str,
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.bench.source.publish(event(id="1", version=published))
        await until(lambda: measured.bench.source.settled == 1)
        redis_now.set("order:1", cached)
        await until(lambda: measured.counts() == {outcome: 1})


async def test_a_hash_cannot_be_compared(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.bench.source.publish(event(id="1", version=2))
        await until(lambda: measured.bench.source.settled == 1)
        redis_now.hset("order:1", "version", "1")
        await until(lambda: measured.counts() == {"unreadable": 1})


async def test_a_later_event_for_the_name_is_checked_instead(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        source = measured.bench.source
        source.publish(event(id="1", version=2))
        await until(lambda: source.settled == 1)
        source.publish(event(id="1", version=3), event(id="2", version=1))
        await until(lambda: source.settled == 3)
        redis_now.set("order:1", b'{"version": 2}')
        await until(lambda: measured.counts() == {"superseded": 1, "stale": 1, "fresh": 1})
        (finding,) = measured.findings()
        assert (finding.key, finding.trace.position) == ("order:1", "1")


async def test_of_two_events_of_one_batch_the_newer_one_is_checked(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.bench.source.publish(event(id="1", version=2), event(id="1", version=3))
        await until(lambda: measured.bench.source.settled == 2)
        redis_now.set("order:1", b'{"version": 2}')
        await until(lambda: measured.counts() == {"stale": 1})


async def test_an_event_that_becomes_a_dead_letter_is_counted_apart(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.05,)) as measured:
        measured.bench.source.publish(event(version=2))  # no id
        await until(lambda: measured.counts() == {"dead-letter": 1})
        await until(lambda: len(dead_letters(redis_now)) == 1)


async def test_a_name_that_can_never_be_applied_is_counted_apart(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis_now.set("tag:c7", "no set")
    async with measuring(RULES, redis_url, tmp_path, delays=(2.0,)) as measured:
        measured.bench.source.publish(event("customer.updated", id=7, version=2))
        await until(lambda: measured.counts() == {"dead-letter": 1})
        assert measured.freshness.waiting == 0


async def test_an_event_without_the_field_is_counted_apart(redis_url: str, tmp_path: Path) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.05,)) as measured:
        measured.bench.source.publish(event(id="1"))
        await until(lambda: measured.counts() == {"unreadable": 1})


@pytest.mark.parametrize("key", ["tag:c7", "tag:z:c7"])
async def test_members_of_a_tag_are_checked(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, key: str
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.bench.source.publish(event("customer.updated", id=7, version=2))
        await until(lambda: measured.bench.source.settled == 1)
        redis_now.set("order:1", b'{"version": 1}')
        redis_now.set("order:2", b'{"version": 2}')
        if key == "tag:c7":
            redis_now.sadd(key, "order:1", "order:2", "order:gone")
        else:
            redis_now.zadd(key, {"order:1": 1e15, "order:2": 1e15})
        await until(lambda: measured.counts() == {"stale": 1})
        (finding,) = measured.findings()
        assert (finding.kind, finding.name, finding.key) == ("tags", "c7", "order:1")


async def test_keys_of_a_pattern_are_checked_once_they_are_swept(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis_now.set("list:1:a", b'{"version": 1}')
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.bench.source.publish(event("list.updated", id=1, version=2))
        await until(lambda: measured.bench.source.settled == 1)
        redis_now.set("list:1:b", b'{"version": 1}')
        await until(lambda: measured.counts() == {"stale": 1})
        assert [finding.key for finding in measured.findings()] == ["list:1:b"]


async def test_a_counter_that_went_back_is_found(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis_now.set("cache:version:prices", 7)
    async with measuring(RULES, redis_url, tmp_path, delays=(0.3, 0.6)) as measured:
        measured.bench.source.publish(event("prices.updated", version=2))
        await until(lambda: measured.counts() == {"fresh": 1})
        redis_now.delete("cache:version:prices")
        await until(lambda: measured.counts() == {"fresh": 1, "stale": 1})
        assert [finding.why for finding in measured.findings()] == ["went-back"]


async def test_rows_of_entries_are_compared(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    def entry(row: int, state: bytes = b"") -> bytes:
        frame = Frame(b'{"a": 1}', b"J-", new_token(), b"", 9e12, row=row)
        return state + frame.encoded()[len(state) :]

    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        names = ["1", "2", "3", "4"]
        measured.bench.source.publish(*(event("entry.updated", id=i, version=5) for i in names))
        await until(lambda: measured.bench.source.settled == 4)
        redis_now.set("entry:1", entry(4))
        redis_now.set("entry:2", entry(5))
        redis_now.set("entry:3", entry(0))  # its writer gave no version
        redis_now.set("entry:4", entry(4, b"!i1 L"))  # a lease alone
        await until(lambda: measured.counts() == {"stale": 1, "fresh": 2, "unreadable": 1})
        (finding,) = measured.findings()
        assert (finding.key, finding.why) == ("entry:1", "lagging-replica")
        assert len(finding.entry) == 16


async def test_an_entry_whose_stamp_is_gone_is_one_that_readers_do_not_see(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    redis = client(redis_url, 5)
    cache = Cache(redis)
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.bench.source.publish(event(id="1", version=2))
        await until(lambda: measured.bench.source.settled == 1)

        async def load(_: object) -> dict[str, int]:
            return {"version": 1}

        await cache.get_or_load("order:1", load, tags=["t"])
        redis_now.delete("invalidator:stamp:t")
        await until(lambda: measured.counts() == {"fresh": 1})
    await redis.aclose()


async def test_the_truth_is_asked_twice_before_an_entry_is_stale(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.truth.rows["1"] = {"price": 10}
        measured.truth.rows["2"] = {"price": 10}
        for number in ("1", "2", "3", "4"):
            measured.bench.source.publish(event("product.updated", id=number))
        await until(lambda: measured.bench.source.settled == 4)
        redis_now.set("product:1", b'{"price": 9}')
        redis_now.set("product:2", b'{"price": 10}')
        redis_now.set("product:3", b'{"price": 9}')  # there is no such row
        await until(lambda: measured.counts() == {"stale": 2, "fresh": 2})
        assert {finding.key for finding in measured.findings()} == {"product:1", "product:3"}
        assert measured.truth.asked == 5


@pytest.mark.parametrize("busy", ["paused", "in-flight"])
async def test_a_change_whose_event_cannot_have_arrived_is_counted_apart(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, busy: str
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.busy = busy
        measured.bench.source.publish(event("product.updated", id="1"))
        await until(lambda: measured.bench.source.settled == 1)
        redis_now.set("product:1", b'{"price": 9}')
        await until(lambda: measured.counts() == {busy: 1})


async def test_a_truth_that_does_not_answer_is_counted_apart(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.5,)) as measured:
        measured.truth.down = True
        measured.bench.source.publish(event("product.updated", id="1"))
        await until(lambda: measured.bench.source.settled == 1)
        redis_now.set("product:1", b'{"price": 9}')
        with capture_logs() as logs:
            await until(lambda: measured.counts() == {"unavailable": 1})
        assert [entry["event"] for entry in logs] == ["freshness-unavailable"]


async def test_the_reason_follows_from_what_was_seen(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    async with measuring(RULES, redis_url, tmp_path, delays=(0.4, 0.8, 1.2)) as measured:
        measured.bench.source.publish(event(id="1", version=2))
        await until(lambda: measured.counts() == {"fresh": 1})
        redis_now.set("order:1", b'{"version": 1}')
        await until(lambda: measured.counts()["stale"] == 1)
        measured.identity = "another"
        await until(lambda: measured.counts()["stale"] == 2)
        assert [f.why for f in measured.findings()] == ["failover", "second-writer"]


async def test_neither_names_nor_values_are_logged_and_redacted_names_not_stored(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with measuring(
            RULES, redis_url, tmp_path, delays=(0.5,), redact=("data.id",)
        ) as measured:
            measured.bench.source.publish(event(id="ann@example.com", version=2))
            await until(lambda: measured.bench.source.settled == 1)
            redis_now.set("order:ann@example.com", b'{"version": 1, "name": "Ann"}')
            await until(lambda: measured.counts() == {"stale": 1})
            said = repr(measured.findings()) + str(logs)
    assert "ann@" not in said
    assert "Ann" not in said
    assert "withheld:" in said
    assert "stale-entry" in [entry["event"] for entry in logs]
