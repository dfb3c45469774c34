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


class Tagged:
    """Entries under several tags, each tag a set of their keys."""

    def __init__(self, client: "redis.Redis", tag_key: str) -> None:
        self._redis: Any = client
        self._tag_key = tag_key

    def get(self, key: str, tags: list[str], load: Load) -> Any:
        found = self._redis.get(key)
        if found is not None:
            return json.loads(found)
        value = load()
        self._redis.set(key, json.dumps(value), ex=300)
        for tag in tags:
            self._redis.sadd(self._tag_key.format(tag=tag), key)
        return value


class Versioned:
    """Keys that hold a version: raising it leaves the old entries to expire unread."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis: Any = client
        self._cache = Cached(client)

    def get(self, entity: str, number: int, load: Load) -> Any:
        version = int(self._redis.get(f"cache:version:{entity}") or 0)
        return self._cache.get(f"{entity}:v{version}:{number}", load)
