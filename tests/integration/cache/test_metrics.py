"""What a cache tells Prometheus and OpenTelemetry."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from invalidator.cache import L1, Cache, SyncCache
from invalidator.cache.memory import SyncMemoryCache
from invalidator.cache.metrics import CacheCollector, observe
from tests.integration.cache.conftest import Caller
from tests.integration.cache.test_l1 import kept, made, near_of, up


def shown(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"invalidator_cache_{name}", labels)


def registered(**caches: Cache | SyncCache) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(CacheCollector(**caches))
    return registry


def used() -> SyncMemoryCache:
    cache = SyncMemoryCache()

    @cache.cached("order:{order_id}")
    def order(order_id: str) -> int:
        cache.clock.tick("30ms")
        if order_id == "refused":
            cache.invalidate("order:refused")  # while it is loaded
        if order_id == "failing":
            raise ValueError
        return 1

    for order_id in ("a", "a", "a", "refused"):
        order(order_id)
    with pytest.raises(ValueError):  # noqa: PT011
        order("failing")
    cache.get_or_load("plain", lambda _: 1, kind="default")
    return cache


def test_prometheus_sees_reads_puts_and_loads_by_template() -> None:
    registry = registered(shop=used(), other=SyncMemoryCache())
    order = {"cache": "shop", "template": "order:{order_id}"}
    results = {"hit": 2, "load": 3, "l1": 0, "stale": 0, "bypass": 0, "alone": 0, "shared": 0}
    for result, count in results.items():
        assert shown(registry, "reads_total", **order, result=result) == count
    assert shown(registry, "puts_total", **order, result="put") == 1
    assert shown(registry, "puts_total", **order, result="refused") == 1
    assert shown(registry, "load_failures_total", **order) == 1
    assert shown(registry, "load_seconds_count", **order) == 2
    assert shown(registry, "load_seconds_sum", **order) == pytest.approx(0.06)
    assert shown(registry, "load_seconds_bucket", **order, le="0.025") == 0
    assert shown(registry, "load_seconds_bucket", **order, le="0.05") == 2
    plain = {"cache": "shop", "template": "kind:default"}
    assert shown(registry, "reads_total", **plain, result="load") == 1
    assert shown(registry, "breaker_open", cache="other") == 0
    assert shown(registry, "loads_in_flight", cache="shop") == 0
    assert b"failing" not in generate_latest(registry)  # no key is a label


async def test_the_l1_is_counted(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.cache.backplane.HEARING", 0.2)
    near = made("asyncio", server.url, l1=L1())
    registry = registered(shop=near.cache)
    assert shown(registry, "l1_up", cache="shop") == 0
    await up(near)
    await kept(near, "k", 1)
    assert shown(registry, "l1_up", cache="shop") == 1
    assert shown(registry, "l1_entries", cache="shop") == len(near_of(near))
    reads = {"cache": "shop", "template": "kind:default", "result": "l1"}
    assert (shown(registry, "reads_total", **reads) or 0) >= 1
    await near.call("invalidate", "k")
    assert shown(registry, "l1_dropped_total", cache="shop") == 1
    await near.close()


async def test_an_open_breaker_shows(caller: Caller, server: Any) -> None:
    registry = registered(shop=caller.cache)
    server.kill()
    for _ in range(6):
        await caller.read("k", lambda: 1)
    assert shown(registry, "breaker_open", cache="shop") == 1


def test_opentelemetry_sees_the_same() -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observe(provider.get_meter("test"), shop=used())
    data: Any = reader.get_metrics_data()
    found = {
        (metric.name, point.attributes.get("template"), point.attributes.get("result")): point.value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    template = "order:{order_id}"
    assert found["invalidator_cache_reads", template, "hit"] == 2
    assert found["invalidator_cache_puts", template, "refused"] == 1
    assert found["invalidator_cache_load_seconds_count", template, None] == 2
    assert found["invalidator_cache_breaker_open", None, None] == 0
    provider.shutdown()
