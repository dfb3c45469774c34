"""Names reach Fastly, Cloudflare and a service of one's own as their APIs have it."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from invalidator.model import Names
from invalidator.rules.rule import Cache
from invalidator.runtime.health import Health
from invalidator.targets.store import Store
from tests.backends import until
from tests.backends.edge_apis import (
    TOKEN,
    CloudflareApi,
    EdgeApi,
    FastlyApi,
    Webhook,
    half,
    slow,
    status,
)
from tests.integration.edge import purging
from tests.integration.edge.purging import purge

TARGETS: dict[str, type[EdgeApi]] = {
    "fastly": FastlyApi,
    "cloudflare": CloudflareApi,
    "http": Webhook,
}
each_target = pytest.mark.parametrize("target", TARGETS)


def stored(
    api: EdgeApi, health: Health | None = None, **more: str
) -> "AbstractAsyncContextManager[Store]":
    settings = {"edge__rate": "1000/s", **more}
    secret = settings.pop("edge__secrets__pages", TOKEN)
    return purging.stored(api.url, secret, health, **settings)


async def test_surrogate_keys_go_to_fastly_in_batches_of_256_and_urls_one_by_one() -> None:
    tags = {f"product:{number}" for number in range(600)}
    urls = {"https://www.example.com/products/7?a=b", "https://www.example.com/käse"}
    with FastlyApi() as api:
        async with stored(api) as store:
            assert (
                await purge(store, Cache("pages", target="fastly"), Names(urls, set(), tags)) == []
            )
    assert set(api.purged) == {
        *tags,
        "https://www.example.com/products/7?a=b",
        "https://www.example.com/k%C3%A4se",
    }
    assert (len(api.statuses), api.soft) == (5, False)


async def test_fastly_is_asked_to_purge_softly() -> None:
    with FastlyApi() as api:
        async with stored(api) as store:
            cache = Cache("pages", target="fastly", soft=True)
            assert await purge(store, cache, Names(tags={"a"})) == []
    assert api.soft


async def test_cloudflare_takes_100_names_of_a_kind_together() -> None:
    names = Names(
        {f"https://www.example.com/{number}" for number in range(150)},
        {"https://www.example.com/search/*"},
        {f"t{number}" for number in range(101)},
    )
    with CloudflareApi() as api:
        async with stored(api) as store:
            assert await purge(store, Cache("pages", target="cloudflare"), names) == []
    assert sorted(api.sizes) == [1, 1, 50, 100, 100]
    assert set(api.purged) == {*names.keys, *names.tags, "www.example.com/search/*"}


async def test_a_name_that_cloudflare_refuses_keeps_no_others_alive() -> None:
    good = {f"https://www.example.com/{number}" for number in range(3)}
    with CloudflareApi() as api:
        async with stored(api) as store:
            cache = Cache("pages", target="cloudflare")
            (failure,) = await purge(store, cache, Names({*good, "https://foreign.test/"}))
    assert (failure.kind, failure.name) == ("keys", "https://foreign.test/")
    assert failure.message == "it answered 400: Unable to purge: this URL is not of your zone"
    assert set(api.purged) == good


async def test_the_rate_of_a_server_that_limits_is_kept_and_429_is_obeyed() -> None:
    with CloudflareApi(rate=25, bucket=5) as api:  # requests may arrive closer than they left
        async with stored(api, edge__rate="20/s", edge__burst="2") as store:
            for number in range(16):
                await purge(store, Cache("pages", target="cloudflare"), Names(tags={f"t{number}"}))
        assert api.statuses.count(429) <= 1
        assert len(set(api.purged)) == 16


async def test_nothing_is_sent_until_retry_after_is_over() -> None:
    loop = asyncio.get_running_loop()
    with FastlyApi() as api:
        async with stored(api) as store:
            api.fault = status(429, Retry_After="1")
            waiting = asyncio.create_task(
                purge(store, Cache("pages", target="fastly"), Names(tags={"a"}))
            )
            await until(lambda: api.statuses == [429])
            api.fault, began = None, loop.time()
            assert await waiting == []
            assert loop.time() - began > 0.8
    assert api.statuses == [429, 200]


async def test_a_webhook_is_signed_and_keeps_its_id_when_it_is_sent_again() -> None:
    names = Names({"k"}, {"p*"}, {"t"}, {"v"})
    with Webhook() as api:
        api.fault = lambda api, request: (api.answered(request), (500, {}, {}))[1]
        async with stored(api) as store:
            sending = asyncio.create_task(purge(store, Cache("pages", target="http"), names))
            await until(lambda: api.ids)
            api.fault = None
            assert await sending == []
    assert len(api.ids) > 1
    assert len(set(api.ids)) == 1
    assert api.bodies[0] == {
        "cache": "pages",
        "keys": ["k"],
        "patterns": ["p*"],
        "tags": ["t"],
        "versions": ["v"],
    }


@each_target
async def test_what_fails_is_retried_and_readiness_names_it(target: str) -> None:
    health, cache = Health(), Cache("pages", target=target)
    faults = {
        "timeout": slow(0.6),
        "500": status(500),
        "429": status(429),
        "protocol": half,
        "401": None,
    }
    with TARGETS[target]() as api:
        async with stored(api, health, edge__timeout="300ms") as store:
            for number, fault in enumerate(faults.values()):
                api.fault = fault
                api.token = TOKEN if fault else "another"
                name = f"t{number}"
                waiting = asyncio.create_task(purge(store, cache, Names(tags={name})))
                await until(lambda: health.waiting().get("cache pages", "starting") != "starting")
                api.fault, api.token = None, TOKEN
                assert await waiting == []
                assert name in api.purged
                assert health.waiting().get("cache pages") is None


@each_target
async def test_names_wait_once_while_a_server_is_down(target: str) -> None:
    health, cache = Health(), Cache("pages", target=target)
    api = TARGETS[target]()
    async with stored(api, health) as store:
        waiting = []
        for _ in range(9):  # the first is on its way alone, the others go together
            names = Names(tags={"a", "b"})
            waiting.append(asyncio.create_task(purge(store, cache, names)))
            await until(lambda: health.waiting().get("cache pages", "starting") != "starting")
        with api:
            assert [await each for each in waiting] == [[]] * 9
            edge = store.edge(cache)
            assert edge
            await until(lambda: not edge.busy)
    assert sorted(api.purged) == ["a", "a", "b", "b"]


async def test_a_wrong_token_is_no_dead_letter_whatever_status_it_has() -> None:
    health, cache = Health(), Cache("pages", target="cloudflare")
    with CloudflareApi() as api:
        async with stored(api, health, edge__secrets__pages="-") as store:
            waiting = asyncio.create_task(purge(store, cache, Names(tags={"a"})))
            await until(lambda: "Invalid request" in health.waiting().get("cache pages", ""))
            waiting.cancel()
            await asyncio.wait({waiting})
    assert set(api.statuses) == {400}


async def test_what_no_edge_can_take_is_found_before_it_is_sent() -> None:
    paths = {"/a", "ftp://www.example.com/a", "https://two words/a", "https://u@a/b", "https:///a"}
    bad = {"two words", "a,b", "ü", "x" * 1025}
    with FastlyApi() as api:
        async with stored(api) as store:
            cache = Cache("pages", target="fastly")
            failures = await purge(store, cache, Names(paths, set(), {*bad, "good"}))
    assert {failure.name for failure in failures} == bad | paths
    assert api.purged == ["good"]


async def test_what_rules_no_longer_name_leaves_readiness_and_its_connections() -> None:
    health, hard = Health(), Cache("pages", target="fastly")
    soft = Cache("pages", target="fastly", soft=True)
    with FastlyApi() as api:
        async with stored(api, health) as store:
            store.enforce({"pages": hard})
            assert "cache pages" in health.parts
            assert await purge(store, hard, Names(tags={"a"})) == []
            store.enforce({"pages": soft})  # another edge, the same part
            assert "cache pages" in health.parts
            assert await purge(store, soft, Names(tags={"b"})) == []
            assert api.soft
            store.enforce({"default": Cache()})
            assert "cache pages" not in health.parts
            assert store.edge_servers == []
            assert await purge(store, hard, Names(tags={"c"})) == []  # a batch of earlier rules
    assert sorted(api.purged) == ["a", "b", "c"]
