"""Metrics of caches, for Prometheus and for OpenTelemetry. Nothing is counted that is not anyway.

REGISTRY.register(CacheCollector(shop=cache))          # prometheus_client
observe(get_meter("shop"), shop=cache)                 # opentelemetry
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct, field

from invalidator.cache.base import Base
from invalidator.cache.stats import LOAD_TIMES, Stats

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from prometheus_client.core import Metric

PREFIX: Final = "invalidator_cache_"
RESULTS: Final = ("l1", "hits", "stale", "loads", "shared", "alone", "bypassed")
_NAMES: Final = {"hits": "hit", "loads": "load", "bypassed": "bypass", "puts": "put"}

Labels = dict[str, str]


class Family(Struct, frozen=True):
    """One metric: its values by labels."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    values: list[tuple[Labels, float]] = field(default_factory=list)


def families(caches: Mapping[str, Base]) -> Iterator[Family]:
    """Return what is known of caches, by template and never by key."""
    yield _by_result(caches, "reads", "Reads by where the value came from", RESULTS)
    results = ("puts", "refused", "older", "too_large")
    about = "Loaded values by what became of them; refused: stale fills that did not happen"
    yield _by_result(caches, "puts", about, results)
    for name, attribute, about in (
        ("waits", "waits", "Waits for a load of another process"),
        ("load_failures", "failed", "Loads that raised"),
        ("undecodable", "undecodable", "Entries that this process could not decode"),
    ):
        values = [(labels, getattr(stats, attribute)) for labels, stats in _templates(caches)]
        yield Family(name, about, "counter", values)
    yield from _states(caches)
    yield from _near(caches)


def _by_result(caches: Mapping[str, Base], name: str, about: str, results: Iterable[str]) -> Family:
    values = [
        ({**labels, "result": _NAMES.get(result, result)}, getattr(stats, result))
        for labels, stats in _templates(caches)
        for result in results
    ]
    return Family(name, about, "counter", values)


def _templates(caches: Mapping[str, Base]) -> Iterator[tuple[Labels, Stats]]:
    for name, cache in caches.items():
        for template, stats in list(cache.stats_by_template.items()):
            yield {"cache": name, "template": template}, stats


def _states(caches: Mapping[str, Base]) -> Iterator[Family]:
    for name, about, value in (
        ("breaker_open", "1 while Redis is not asked", lambda c: bool(c.breaker.open_until)),
        ("loads_in_flight", "Loads under a lease", lambda c: c.loads_in_flight),
    ):
        values = [({"cache": label}, float(value(cache))) for label, cache in caches.items()]
        yield Family(name, about, "gauge", values)


def _near(caches: Mapping[str, Base]) -> Iterator[Family]:
    near = [({"cache": name}, cache.l1) for name, cache in caches.items() if cache.l1 is not None]
    yield Family("l1_entries", "Copies", "gauge", [(name, len(l1)) for name, l1 in near])
    yield Family("l1_bytes", "Bytes of copies", "gauge", [(name, l1.bytes) for name, l1 in near])
    about = "1 while all announcements are received, and copies are kept"
    yield Family("l1_up", about, "gauge", [(name, float(l1.on)) for name, l1 in near])
    for counted, about in (
        ("kept", "Copies taken"),
        ("refused", "Copies not taken: invalidated since the read began"),
        ("dropped", "Copies dropped by announcements"),
        ("evicted", "Copies dropped for want of room"),
        ("gaps", "Times at which everything was dropped, as announcements may be missing"),
        ("last", "Last values served while Redis was unavailable"),
    ):
        values = [(name, float(getattr(l1.stats, counted))) for name, l1 in near]
        yield Family(f"l1_{counted}", about, "counter", values)


class CacheCollector:
    """A collector for prometheus_client: one for all caches of a process, each by its name."""

    def __init__(self, **caches: Base) -> None:
        self._caches = caches

    def collect(self) -> Iterator["Metric"]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for family in families(self._caches):
            make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            labels = list(family.values[0][0]) if family.values else []
            made: Any = make(PREFIX + family.name, family.help, labels=labels)
            for values, value in family.values:
                made.add_metric([*values.values()], value)
            yield made
        yield self._load_seconds()

    def _load_seconds(self) -> "Metric":
        from prometheus_client.core import HistogramMetricFamily

        made = HistogramMetricFamily(
            f"{PREFIX}load_seconds", "How long loads took", labels=["cache", "template"]
        )
        bounds = [*map(str, LOAD_TIMES), "+Inf"]
        for labels, stats in _templates(self._caches):
            buckets = list(zip(bounds, accumulate(stats.load_times), strict=True))
            made.add_metric([*labels.values()], buckets, stats.load_seconds)
        return made


def observe(meter: "Meter", **caches: Base) -> None:
    """Let a meter of OpenTelemetry observe caches, each by its name."""
    from opentelemetry.metrics import Observation

    def observed(name: str, _: "CallbackOptions") -> "Iterable[Observation]":
        found = next(family for family in _all(caches) if family.name == name)
        return [Observation(value, labels) for labels, value in found.values]

    for family in _all(caches):
        callbacks: list[Callable[..., Any]] = [partial(observed, family.name)]
        make = (
            meter.create_observable_counter
            if family.kind == "counter"
            else meter.create_observable_gauge
        )
        make(PREFIX + family.name, callbacks, description=family.help)


def _all(caches: Mapping[str, Base]) -> Iterator[Family]:
    yield from families(caches)
    for name, value in (
        ("load_seconds_sum", lambda stats: stats.load_seconds),
        ("load_seconds_count", lambda stats: float(sum(stats.load_times))),
    ):
        values = [(labels, value(stats)) for labels, stats in _templates(caches)]
        yield Family(name, "How long loads took", "counter", values)
