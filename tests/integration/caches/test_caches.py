"""What people write, kept on a real Redis and invalidated by rules as they would write them."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from msgspec.structs import replace

from invalidator.model import Batch
from invalidator.rules import RuleSet
from invalidator.rules.explain.run_tests import run_tests
from invalidator.rules.lint import check
from tests.backends import until
from tests.integration.caches.keepers import Cached, Feeds, Tagged, Versioned, cached_by_arguments
from tests.integration.piping import piping
from tests.memory_source import MemorySource

if TYPE_CHECKING:
    import redis

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.yaml"))


def rules_of(name: str) -> RuleSet:
    checked = check(HERE / f"{name}.yaml")
    assert checked.ruleset, [str(finding.problem) for finding in checked.findings]
    return checked.ruleset


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_rules_do_what_their_own_tests_say(path: Path) -> None:
    results = run_tests(rules_of(path.stem))
    assert [(result.test.name, result.differences) for result in results.failed] == []
    assert results.uncovered == ()


class Channel(MemorySource):
    """Events that come from a channel of this name."""

    def __init__(self, origin: str) -> None:
        super().__init__()
        self._origin = origin

    async def read(self, limit: int) -> Batch | None:
        batch = await super().read(limit)
        if batch is None:
            return None
        return replace(batch, slices=[replace(part, origin=self._origin) for part in batch.slices])


async def forget(
    name: str, redis_url: str, *events: dict[str, Any], channel: str = "events"
) -> None:
    """These events through a running pipeline."""
    async with piping(rules_of(name), redis_url, source=Channel(channel)) as bench:
        for event in events:
            bench.source.publish(orjson.dumps(event))
        await until(lambda: bench.source.settled == len(events))


async def test_users_their_posts_and_the_members_of_teams(
    redis_url: str, redis_now: "redis.Redis"
) -> None:
    cache, names = Cached(redis_now), {"user:5": "Ann", "user:6": "Bob"}
    keys = ["user:5", "user:6", "user:5:posts", "team:1:members", "team:2:members"]

    def read() -> list[Any]:
        return [cache.get(key, partial(names.get, key, "old")) for key in keys]

    assert read() == ["Ann", "Bob", "old", "old", "old"]
    names |= {"user:5": "Anna", "user:6": "Bobby", "team:2:members": "new", "team:1:members": "new"}
    assert read() == ["Ann", "Bob", "old", "old", "old"]
    moved = {"type": "user.updated", "data": {"id": 5, "team_id": 2, "old_team_id": 1}}
    await forget("users_and_teams", redis_url, moved)
    assert read() == ["Anna", "Bob", "old", "new", "new"]
    redis_now.flushdb()


async def test_a_decorators_hashed_arguments(redis_url: str, redis_now: "redis.Redis") -> None:
    stock = {"shoes": 3}

    @cached_by_arguments(redis_now, "product_search")
    def search(text: str, page: int) -> Any:
        return [stock[text], page]

    assert search("shoes", 1) == [3, 1]
    stock["shoes"] = 4
    assert search("shoes", 1) == [3, 1]
    stale = {"type": "product.indexed", "data": {"searches": [{"args": ["shoes", 1]}]}}
    await forget("decorated_search", redis_url, stale)
    assert search("shoes", 1) == [4, 1]
    redis_now.flushdb()


async def test_a_list_and_its_companion(redis_url: str, redis_now: "redis.Redis") -> None:
    feeds, posts = Feeds(redis_now), ["a"]
    assert feeds.get(1, lambda: posts) == ["a"]
    posts.append("b")
    assert feeds.get(1, lambda: posts) == ["a"]
    await forget("list_and_meta", redis_url, {"type": "post.created", "userIds": [1, 2]})
    assert feeds.get(1, lambda: posts) == ["a", "b"]
    redis_now.flushdb()


async def test_single_orders_their_pages_and_counts(
    redis_url: str, redis_now: "redis.Redis"
) -> None:
    cache, state = Cached(redis_now), {"now": "old"}
    keys = ["order:single:o1", "orders:count:c1", "orders:list:c1:1:20", "orders:list:c1:2:20"]
    others = ["order:single:o2", "orders:list:c10:1:20", "orders:list:c*:1:20"]

    def read(names: list[str]) -> set[str]:
        return {cache.get(name, lambda: state["now"]) for name in names}

    assert read(keys + others) == {"old"}
    state["now"] = "new"
    updated = {"type": "order.updated", "data": {"orderId": "o1", "customerId": "c1"}}
    hostile = {"type": "order.updated", "data": {"orderId": "o3", "customerId": "c*"}}
    await forget("orders", redis_url, updated, hostile)
    assert read(keys) == {"new"}
    assert read(others[:2]) == {"old"}
    assert read(others[2:]) == {"new"}
    redis_now.flushdb()


async def test_a_channel_of_entities_and_actions(redis_url: str, redis_now: "redis.Redis") -> None:
    cache, users = Cached(redis_now), {1: "Ann"}
    assert cache.get("user:1", lambda: users[1]) == "Ann"
    users[1] = "Anna"
    message = {"entity": "user", "id": 1, "action": "update"}
    await forget("invalidate_channel", redis_url, message, channel="cache:invalidate")
    assert cache.get("user:1", lambda: users[1]) == "Anna"
    redis_now.flushdb()


async def test_a_bus_whose_channel_is_the_type(redis_url: str, redis_now: "redis.Redis") -> None:
    cache, state = Cached(redis_now), {"now": "old"}
    keys = ["item:i1", "org:42:items"]
    assert {cache.get(key, lambda: state["now"]) for key in keys} == {"old"}
    state["now"] = "new"
    message = {"itemId": "i1", "organizationId": 42}
    await forget("item_bus", redis_url, message, channel="item:updated")
    assert {cache.get(key, lambda: state["now"]) for key in keys} == {"new"}
    redis_now.flushdb()


async def test_two_ways_of_keeping_tags_side_by_side(
    redis_url: str, redis_now: "redis.Redis"
) -> None:
    one, other = Tagged(redis_now, "tag:{tag}"), Tagged(redis_now, "cache:tag:{tag}")
    state = {"now": "old"}

    def read() -> list[str]:
        return [
            one.get("page:1", ["product:9", "category:shoes"], lambda: state["now"]),
            other.get("tile:9", ["product:9"], lambda: state["now"]),
            other.get("tile:8", ["product:8"], lambda: state["now"]),
        ]

    assert read() == ["old"] * 3
    state["now"] = "new"
    changed = {"type": "product.updated", "data": {"id": 9, "categories": ["shoes"]}}
    await forget("tag_sets", redis_url, changed)
    assert read() == ["new", "new", "old"]
    redis_now.flushdb()


async def test_versions_in_keys_where_an_absent_counter_means_nought(
    redis_url: str, redis_now: "redis.Redis"
) -> None:
    cache, state = Versioned(redis_now), {"now": "old"}
    assert cache.get("product", 1, lambda: state["now"]) == "old"
    state["now"] = "new"
    assert cache.get("product", 1, lambda: state["now"]) == "old"
    for expected in ("new", "newer"):
        state["now"] = expected
        await forget("versions", redis_url, {"type": "catalogue.product.changed"})
        assert cache.get("product", 1, lambda: state["now"]) == expected
    redis_now.flushdb()
