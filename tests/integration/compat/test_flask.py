"""Flask-Caching: views, memoized functions with their version, plain keys."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask_caching import Cache

from tests.integration.compat.happening import Source, happen


@pytest.fixture
def app(redis_url: str) -> Iterator[Flask]:
    made = Flask("shop")
    made.config.update(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=redis_url)
    with made.app_context():
        yield made


@pytest.fixture
def cache(app: Flask) -> Iterator[Cache]:
    made = Cache(app)
    yield made
    backend: Any = made.cache
    backend._write_client.close()


async def test_a_view_is_rendered_anew(app: Flask, cache: Cache, redis_url: str) -> None:
    source = Source()

    @app.route("/works/<number>")
    @cache.cached(timeout=300)
    def work(number: str) -> str:
        return source.load()

    browser = app.test_client()

    def read() -> list[str]:
        return [browser.get(f"/works/{number}").text for number in (7, 8)]

    assert read() == ["old", "old"]
    source.change()
    assert read() == ["old", "old"]
    await happen("flask", redis_url, {"type": "work.updated", "data": {"id": 7}})
    assert read() == ["new", "old"]


async def test_a_memoized_function_gets_a_new_version(cache: Cache, redis_url: str) -> None:
    source = Source()

    def memoized(name: str) -> Any:
        def load(number: int, currency: str = "EUR") -> str:
            return source.load()

        load.__module__, load.__qualname__, load.__name__ = "shop", name, name
        return cache.memoize(timeout=300)(load)

    price, stock = memoized("price"), memoized("stock")

    def read() -> list[str]:
        return [price(7), price(8, "USD"), stock(7)]

    assert read() == ["old"] * 3
    source.change()
    assert read() == ["old"] * 3
    await happen("flask", redis_url, {"type": "prices.imported"})
    assert read() == ["new", "new", "old"]


async def test_a_plain_key_goes_and_the_others_stay(cache: Cache, redis_url: str) -> None:
    cache.set_many({"menu": "old", "menus": "old"})
    await happen("flask", redis_url, {"type": "menu.changed"})
    assert [cache.get("menu"), cache.get("menus")] == [None, "old"]
