"""dogpile.cache: keys of decorated functions, as they are and hashed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dogpile.cache import CacheRegion, make_region
from dogpile.cache.util import sha1_mangle_key

from tests.integration.compat.happening import Source, happen

MakeRegion = Callable[..., CacheRegion]


@pytest.fixture
def region(redis_url: str) -> Iterator[MakeRegion]:
    made: list[CacheRegion] = []

    def make(**options: Any) -> CacheRegion:
        made.append(make_region(**options))
        return made[-1].configure(
            "dogpile.cache.redis", expiration_time=300, arguments={"url": redis_url}
        )

    yield make
    for each in made:
        each.backend.writer_client.close()


def function(region: CacheRegion, name: str, source: Source, namespace: str | None = None) -> Any:
    def load(*arguments: object) -> str:
        return source.load()

    load.__module__, load.__name__ = "shop.catalog", name
    return region.cache_on_arguments(namespace=namespace)(load)


async def test_entries_of_functions_are_found_by_their_arguments(
    region: MakeRegion, redis_url: str
) -> None:
    source, made = Source(), region()
    product, price = (function(made, name, source) for name in ("product", "price"))
    stock = function(made, "stock", source, namespace="eu")

    def read() -> list[str]:
        return [product(7), price(7, "EUR"), stock(7), product(8), price(7, "USD"), stock(77)]

    assert read() == ["old"] * 6
    source.change()
    assert read() == ["old"] * 6
    event = {"type": "product.updated", "data": {"id": 7, "currency": "EUR"}}
    await happen("dogpile", redis_url, event)
    assert read() == ["new"] * 3 + ["old"] * 3


async def test_a_hashed_key_is_found_by_the_same_hash(region: MakeRegion, redis_url: str) -> None:
    source = Source()
    product = function(region(key_mangler=sha1_mangle_key), "product", source)
    assert [product(7), product(8)] == ["old", "old"]
    source.change()
    await happen("dogpile", redis_url, {"type": "product.renamed", "data": {"id": 7}})
    assert [product(7), product(8)] == ["new", "old"]
