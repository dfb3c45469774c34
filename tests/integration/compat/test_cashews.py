"""cashews: its keys, each of its strategies, its tags, its cache in the client's memory."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from cashews import Cache

from tests.backends import until
from tests.integration.compat.happening import Source, happen

if TYPE_CHECKING:
    import redis

# It uses redis-py in old ways.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

Read = Callable[[int], Awaitable[str]]


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[Cache]:
    made = Cache()
    made.setup(redis_url)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("cache", {}),
        ("early", {}),
        ("soft", {"soft_ttl": "10m"}),
        ("hit", {"cache_hits": 100}),
    ],
)
async def test_an_entry_of_each_strategy_is_read_anew(
    cache: Cache, redis_url: str, strategy: str, options: dict[str, Any]
) -> None:
    source = Source()

    async def load(user_id: int) -> str:
        return source.load()

    name: Read = getattr(cache, strategy)(ttl="1h", key="user:{user_id}", **options)(load)

    assert [await name(7), await name(8)] == ["old", "old"]
    source.change()
    assert [await name(7), await name(8)] == ["old", "old"]
    await happen("cashews", redis_url, {"type": "user.renamed", "data": {"id": 7}})
    assert [await name(7), await name(8)] == ["new", "old"]


async def test_what_a_failover_falls_back_on_is_forgotten(cache: Cache, redis_url: str) -> None:
    up = True

    @cache.failover(ttl="1h", key="user:{user_id}", exceptions=ConnectionError)
    async def name(user_id: int) -> str:
        if not up:
            raise ConnectionError
        return "Ann"

    assert [await name(7), await name(8)] == ["Ann", "Ann"]
    up = False
    assert [await name(7), await name(8)] == ["Ann", "Ann"]
    await happen("cashews", redis_url, {"type": "user.renamed", "data": {"id": 7}})
    with pytest.raises(ConnectionError):
        await name(7)
    assert await name(8) == "Ann"


async def test_a_key_made_of_module_function_and_arguments(cache: Cache, redis_url: str) -> None:
    source = Source()

    async def profile(user_id: int) -> str:
        return source.load()

    profile.__module__, profile.__qualname__ = "shop.users", "profile"
    read: Read = cache(ttl="1h")(profile)
    assert [await read(7), await read(8)] == ["old", "old"]
    source.change()
    await happen("cashews", redis_url, {"type": "user.renamed", "data": {"id": 7}})
    assert [await read(7), await read(8)] == ["new", "old"]


async def test_a_tag_takes_all_its_entries_and_is_kept_again(
    cache: Cache, redis_url: str, redis_now: "redis.Redis"
) -> None:
    source = Source()

    @cache(ttl="1h", key="name:{user_id}", tags=["user:{user_id}", "names"])
    async def name(user_id: int) -> str:
        return source.load()

    @cache.early(ttl="2h", key="posts:{user_id}", tags=["user:{user_id}"])
    async def posts(user_id: int) -> str:
        return source.load()

    async def read() -> list[str]:
        return [await name(7), await posts(7), await name(8), await posts(8)]

    assert await read() == ["old"] * 4
    source.change()
    assert await read() == ["old"] * 4
    await happen("cashews", redis_url, {"type": "user.updated", "data": {"id": 7}})
    assert await read() == ["new", "new", "old", "old"]
    kept = {bytes(member) for member in redis_now.sscan_iter("_tag:user:7")}
    assert kept == {b"name:7", b"early:v2:posts:7"}
    await cache.delete_tags("user:7")  # the library finds what it kept
    source.value = "newer"
    assert await read() == ["newer", "newer", "old", "old"]


async def test_more_members_than_the_library_takes_at_a_time(cache: Cache, redis_url: str) -> None:
    source = Source()

    @cache(ttl="1h", key="post:{number}", tags=["user:7"])
    async def post(number: int) -> str:
        return source.load()

    assert {await post(number) for number in range(500)} == {"old"}
    source.change()
    await happen("cashews", redis_url, {"type": "user.updated", "data": {"id": 7}})
    assert {await post(number) for number in range(500)} == {"new"}


async def test_a_pattern_spares_the_tags(
    cache: Cache, redis_url: str, redis_now: "redis.Redis"
) -> None:
    source = Source()

    @cache(ttl="1h", key="users:{team}:{page}", tags=["users"])
    async def users(team: str, page: int) -> str:
        return source.load()

    async def read() -> list[str]:
        return [await users("red", 1), await users("red", 2), await users("reds", 1)]

    assert await read() == ["old"] * 3
    source.change()
    await happen("cashews", redis_url, {"type": "user.created", "data": {"team": "red"}})
    assert redis_now.scard("_tag:users") == 3
    assert await read() == ["new", "new", "old"]


@pytest.mark.parametrize("event", ["item.updated", "item.renamed"])
async def test_the_copies_in_every_clients_memory_go_too(redis_url: str, event: str) -> None:
    source = Source()
    clients = [Cache(), Cache()]
    for made in clients:
        # Without protocol=2, redis-py 8 speaks RESP3, in which cashews 7.6 hears of no deletion.
        made.setup(redis_url, client_side=True, protocol=2)

    def reader(cache: Cache) -> Read:
        @cache(ttl="1h", key="item:{number}", tags=["item:{number}"])
        async def item(number: int) -> str:
            return source.load()

        return item

    readers = [reader(made) for made in clients]

    async def read(number: int) -> list[str]:
        return [await item(number) for item in readers]

    try:
        assert [await read(7), await read(8)] == [["old", "old"], ["old", "old"]]
        source.change()
        assert await read(7) == ["old", "old"]
        await happen("cashews-client-side", redis_url, {"type": event, "data": {"id": 7}})

        async def both() -> bool:  # Redis tells the clients a moment later
            return await read(7) == ["new", "new"]

        await until(both)
        assert await read(8) == ["old", "old"]
    finally:
        for made in clients:
            await made.close()
