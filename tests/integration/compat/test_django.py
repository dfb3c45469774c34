"""Django's cache, by django-redis and by Django's own backend: prefix, version, patterns."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import CacheHandler
from django.core.cache.utils import make_template_fragment_key

from tests.integration.compat.happening import Source, happen

BACKENDS = ["django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"]


@pytest.fixture(params=BACKENDS, ids=["django-redis", "django"])
def cache(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Any]:
    if not settings.configured:
        settings.configure()
    options = {"BACKEND": request.param, "LOCATION": redis_url, "KEY_PREFIX": "shop", "VERSION": 2}
    caches = CacheHandler({"default": options})
    made = caches["default"]
    yield made
    # Both keep their connections for the next request.
    if hasattr(made, "client"):
        made.client.do_close_clients()
    else:
        for pool in made._cache._pools.values():
            pool.disconnect()


async def test_keys_and_patterns_of_its_prefix_and_version_are_read_anew(
    cache: Any, redis_url: str
) -> None:
    source = Source()

    def read() -> list[str]:
        keys = ["user:7", "users:red:1", "users:red:2", "user:8", "users:blue:1"]
        return [cache.get_or_set(key, source.load) for key in keys] + [
            cache.get_or_set("user:7", source.load, version=1)
        ]

    assert read() == ["old"] * 6
    source.change()
    assert read() == ["old"] * 6
    await happen("django", redis_url, {"type": "user.updated", "data": {"id": 7, "team": "red"}})
    assert read() == ["new"] * 3 + ["old"] * 3


async def test_an_entry_of_every_version_is_forgotten_by_naming_each(
    cache: Any, redis_url: str
) -> None:
    for version in (1, 2, 3):
        cache.set("user:7", "old", version=version)
    await happen("django", redis_url, {"type": "user.deleted", "data": {"id": 7}})
    assert [cache.get("user:7", version=version) for version in (1, 2, 3)] == [None, None, "old"]


async def test_a_template_fragment_is_found_by_the_hash_of_what_it_varies_on(
    cache: Any, redis_url: str
) -> None:
    ours, other = (make_template_fragment_key("sidebar", ["ann", page]) for page in (3, 4))
    cache.set_many({ours: "old", other: "old"})
    await happen(
        "django", redis_url, {"type": "sidebar.changed", "data": {"user": "ann", "page": 3}}
    )
    assert [cache.get(ours), cache.get(other)] == [None, "old"]
