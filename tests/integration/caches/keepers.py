"""Caches as people write them, on a real Redis: what the rules beside this file must serve."""

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

Load = Callable[[], Any]


class Cached:
    """Cache-aside, as in a thousand services."""

    def __init__(self, client: "redis.Redis", ttl: int = 300) -> None:
        self._redis: Any = client  # its own signatures are untyped
        self._ttl = ttl

    def get(self, key: str, load: Load) -> Any:
        found = self._redis.get(key)
        if found is not None:
            return json.loads(found)
        value = load()
        self._redis.set(key, json.dumps(value), ex=self._ttl)
        return value


class Feeds:
    """A list, and beside it what the list was made of."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis: Any = client

    def get(self, user: int, load: Callable[[], list[str]]) -> list[str]:
        key = f"feed:{user}"
        if self._redis.exists(f"{key}:meta"):
            return [entry.decode() for entry in self._redis.lrange(key, 0, -1)]
        posts = load()
        self._redis.delete(key)
        self._redis.rpush(key, *posts)
        self._redis.hset(f"{key}:meta", mapping={"count": len(posts)})
        return posts


def cached_by_arguments(client: "redis.Redis", name: str) -> Callable[..., Any]:
    """A decorator that hashes the arguments into the key."""
    cache = Cached(client)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            text = json.dumps(args, separators=(",", ":"))
            digest = hashlib.md5(text.encode()).hexdigest()[:12]
            return cache.get(f"{name}:{digest}", lambda: function(*args))

        return call

    return decorate
