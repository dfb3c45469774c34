"""Names reach a real Varnish, whose VCL is that of docs/edge.md."""

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from invalidator.model import Names
from invalidator.rules.rule import Cache
from invalidator.runtime.health import Health
from tests.backends import until
from tests.backends.choose import missing
from tests.backends.origin import Origin
from tests.backends.varnish import NO_VARNISH, Varnish, documented_vcl
from tests.faults.proxy import Proxy
from tests.integration.edge.purging import names_of, purge, stored

PAGES = Cache("pages", target="varnish")
ODD = "o.d*d[1]+(x)|y^$\\"


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def varnish(origin: Origin) -> Iterator[Varnish]:
    if not Varnish.available():
        missing(NO_VARNISH)
    with Varnish(origin.port) as varnish:
        yield varnish


def seen(varnish: Varnish, *paths: str, host: str = "www.example.com") -> dict[str, str]:
    return {path: varnish.get(path, host=host)[1] for path in paths}


async def purged(varnish: Varnish, cache: Cache, names: Names, *paths: str) -> set[str]:
    """Purge names; return the pages that are fetched anew."""
    before = seen(varnish, *paths)
    assert seen(varnish, *paths) == before
    async with stored(varnish.url) as store:
        assert await purge(store, cache, names) == []
    after = seen(varnish, *paths)
    return {path for path in paths if after[path] != before[path]}


async def test_tags_are_whole_words(varnish: Varnish, origin: Origin) -> None:
    origin.tags |= {"/t1": "p:1", "/t2": "x p:1 y", "/t3": "p:11", "/t4": f"p:2 {ODD}", "/t5": "q"}
    names = names_of("p:1", ODD, *(f"more:{number}" for number in range(2000)))
    for cache in (PAGES, Cache("pages", target="varnish", bans=True)):
        paths = ["/t1", "/t2", "/t3", "/t4", "/t5"]
        assert await purged(varnish, cache, names, *paths) == {"/t1", "/t2", "/t4"}, cache


async def test_urls_are_those_of_their_host_and_odd_characters_are_encoded(
    varnish: Varnish,
) -> None:
    paths = ["/u1", "/u1?page=2", "/u2", "/k%C3%A4se%20%22x%22", "//u3", "/?u4"]
    other = seen(varnish, "/u1", host="other.example.com")
    urls = ["/u1", '/käse "x"', "//u3", "?u4"]
    names = names_of(urls=[f"http://www.example.com{url}" for url in urls])
    assert await purged(varnish, PAGES, names, *paths) == {"/u1", *paths[3:]}
    assert seen(varnish, "/u1", host="other.example.com") == other


async def test_patterns_are_globs_of_host_and_path(varnish: Varnish) -> None:
    paths = ["/s/7/a", "/s/7/", "/s/70/a", "/x/s/7/a", "/s.7/a", "/w/1", "/w/12", "/é%2A"]
    paths[-1] = "/%C3%A9*"
    patterns = ["http://www.example.com/s/7/*", "/w/?", "http://*.example.com/é\\*"]
    found = await purged(varnish, PAGES, names_of(patterns=patterns), *paths)
    assert found == {"/s/7/a", "/s/7/", "/w/1", "/%C3%A9*"}
    everything = names_of(patterns=["http://www.example.com*"])
    assert await purged(varnish, PAGES, everything, *paths) == {*paths}


async def test_soft_purges_leave_pages_that_are_served_while_they_are_fetched(
    varnish: Varnish, origin: Origin
) -> None:
    origin.tags["/soft"] = "soft"
    before = seen(varnish, "/soft")
    async with stored(varnish.url) as store:
        assert (
            await purge(store, Cache("pages", target="varnish", soft=True), names_of("soft")) == []
        )
    assert seen(varnish, "/soft") == before  # Varnish fetches it behind the answer
    await until(lambda: seen(varnish, "/soft") != before)


async def test_a_vcl_may_read_another_header_and_check_a_token(origin: Origin) -> None:
    vcl = documented_vcl().replace("xkey-purge", "my-tags")
    guard = "client.ip !~ invalidators"
    vcl = vcl.replace(guard, f'{guard} || req.http.Authorization != "Bearer secret"')
    origin.tags["/mine"] = "mine"
    if not Varnish.available():
        missing(NO_VARNISH)
    health = Health()
    with Varnish(origin.port, vcl) as varnish:
        before = seen(varnish, "/mine")
        cache = Cache("pages", target="varnish", header="my-tags")
        async with stored(varnish.url, "wrong", health) as store:
            waiting = asyncio.create_task(purge(store, cache, names_of("mine")))
            await until(lambda: "403: does its VCL" in health.waiting().get("cache pages", ""))
            assert seen(varnish, "/mine") == before
        async with stored(varnish.url, "secret") as store:
            assert await purge(store, cache, names_of("mine")) == []
        assert seen(varnish, "/mine") != before
        await asyncio.wait({waiting})


async def test_each_of_several_servers_is_purged_and_one_that_is_down_holds_up_no_other(
    varnish: Varnish, origin: Origin
) -> None:
    origin.tags["/both"] = "both"
    health = Health()
    with Varnish(origin.port) as other, Proxy(other.port, Random(1)) as way:
        before = [seen(each, "/both") for each in (varnish, other)]
        way.silent = True
        urls = f"{varnish.url},http://{way.address}"
        async with stored(urls, health=health, edge__timeout="300ms") as store:
            waiting = asyncio.create_task(purge(store, PAGES, names_of("both")))
            part = f"cache pages at {way.address}"
            await until(lambda: health.waiting().get(part, "starting") != "starting")
            assert seen(varnish, "/both") != before[0]
            assert not waiting.done()
            way.heal()
            assert await waiting == []
        assert seen(other, "/both") != before[1]
