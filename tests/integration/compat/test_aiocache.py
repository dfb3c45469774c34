"""aiocache: keys under a namespace, and of decorated functions."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiocache import Cache, cached

from tests.integration.compat.happening import Source, happen

# It uses redis-py in old ways.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def where(redis_url: str) -> dict[str, Any]:
    parts = urlsplit(redis_url)
    return {"endpoint": parts.hostname, "port": parts.port, "db": parts.path.strip("/") or 0}


async def test_keys_and_patterns_of_its_namespace_are_read_anew(
    where: dict[str, Any], closing: AsyncExitStack, redis_url: str
) -> None:
    cache = Cache(Cache.REDIS, namespace="main", **where)
    closing.push_async_callback(cache.close)
    keys = ["user:7", "users:red:1", "users:red:2", "user:8", "users:blue:1"]
    await cache.multi_set([(key, {"is": "old"}) for key in keys], ttl=300)
    await cache.set("user:7", "old", namespace="other")
    await happen("aiocache", redis_url, {"type": "user.updated", "data": {"id": 7, "team": "red"}})
    assert await cache.multi_get(keys) == [None, None, None, {"is": "old"}, {"is": "old"}]
    assert await cache.get("user:7", namespace="other") == "old"


async def test_a_decorated_functions_entry_is_found_by_its_arguments(
    where: dict[str, Any], closing: AsyncExitStack, redis_url: str
) -> None:
    source = Source()

    async def price(number: int, currency: str = "EUR") -> str:
        return source.load()

    price.__module__ = "shop"
    read: Any = cached(cache=Cache.REDIS, ttl=300, **where)(price)
    closing.push_async_callback(read.cache.close)

    async def everything() -> list[str]:
        return [await read(7), await read(7, currency="USD"), await read(7, currency="GBP")]

    assert await everything() == ["old"] * 3
    source.change()
    assert await everything() == ["old"] * 3
    await happen(
        "aiocache", redis_url, {"type": "price.changed", "data": {"number": 7, "currency": "USD"}}
    )
    assert await everything() == ["new", "new", "old"]
