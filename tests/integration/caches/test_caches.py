"""What people write, kept on a real Redis and invalidated by rules as they would write them."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from invalidator.rules import RuleSet
from invalidator.rules.check import check
from invalidator.rules.testing import run
from tests.backends import until
from tests.integration.caches.keepers import Cached, Feeds, cached_by_arguments
from tests.integration.piping import piping

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
    results = run(rules_of(path.stem))
    assert [(result.test.name, result.differences) for result in results.failed] == []
    assert results.uncovered == ()


async def forget(name: str, redis_url: str, *events: dict[str, Any]) -> None:
    """These events through a running pipeline."""
    async with piping(rules_of(name), redis_url) as bench:
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
