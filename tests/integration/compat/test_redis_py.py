"""What people write with redis-py itself: entries, tag sets, counters in keys."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from tests.integration.compat.happening import Source, happen

if TYPE_CHECKING:
    import redis


class Shop:
    """A service's cache. `tag_key` is its own choice."""

    def __init__(self, client: Redis, tag_key: str) -> None:
        self._redis = client
        self._tag_key = tag_key

    async def cached(self, key: str, load: Callable[[], str], *tags: str) -> str:
        if (found := await self._redis.get(key)) is not None:
            return str(found)
        value = load()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(key, value, ex=300)
            for tag in tags:
                pipe.sadd(self._tag_key.format(tag=tag), key)
                pipe.expire(self._tag_key.format(tag=tag), 3600)
            await pipe.execute()
        return value

    async def price(self, number: int, load: Callable[[], str]) -> str:
        version = int(await self._redis.get("cache:version:price") or 0)
        return await self.cached(f"price:v{version}:{number}", load)

    async def forget_prices(self) -> int:
        """The service's own way of raising the counter."""
        return int(await self._redis.incr("cache:version:price"))


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, decode_responses=True) as made:
        yield made


async def test_entries_and_what_their_tags_hold_are_read_anew_and_others_stay(
    client: Redis, redis_url: str, redis_now: "redis.Redis"
) -> None:
    ours, theirs = Shop(client, "tag:{tag}"), Shop(client, "cache:tag:{tag}")
    source, other = Source(), Source()

    async def read() -> list[str]:
        return [
            await ours.cached("product:7", source.load, "category:shoes"),
            await ours.cached("list:shoes:1", source.load, "category:shoes", "lists"),
            await theirs.cached("tile:shoes", source.load, "category:shoes"),
            await ours.cached("list:hats:1", other.load, "category:hats", "lists"),
            await ours.cached("product:8", other.load, "category:hats"),
        ]

    assert await read() == ["old"] * 5
    source.change()
    assert await read() == ["old"] * 5
    await happen(
        "redis_py", redis_url, {"type": "product.updated", "data": {"id": 7, "category": "shoes"}}
    )
    assert await read() == ["new", "new", "new", "old", "old"]
    assert other.loads == 2
    # The readers' own bookkeeping goes on: tags are kept again, with a lifetime of their own.
    assert set(redis_now.sscan_iter("tag:category:shoes")) == {b"product:7", b"list:shoes:1"}
    assert redis_now.ttl("tag:category:shoes") == 3600


async def test_a_raised_counter_leaves_old_entries_unread_and_readers_may_raise_it_too(
    client: Redis, redis_url: str
) -> None:
    shop, source = Shop(client, "tag:{tag}"), Source()
    imported = {"type": "prices.imported"}
    assert await shop.price(1, source.load) == "old"
    source.change()
    assert await shop.price(1, source.load) == "old"
    await happen("redis_py", redis_url, imported)
    assert await shop.price(1, source.load) == "new"
    seen = [await shop.forget_prices()]
    for value in ("newer", "newest"):
        source.value = value
        await happen("redis_py", redis_url, imported)
        assert await shop.price(1, source.load) == value
        seen += [int(await client.get("cache:version:price") or 0), await shop.forget_prices()]
    assert seen == sorted(set(seen)), "the counter only grows, whoever raises it"
