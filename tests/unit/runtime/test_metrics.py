"""Metrics keep to Prometheus's conventions, explain themselves, and tell nothing of events."""

import pytest
from prometheus_client import REGISTRY, Metric

from invalidator.runtime.metrics import Asked

# What a label may be about. None of these comes out of an event.
LABELS = {
    "bound", "cache", "cause", "delay", "error", "hash", "kind", "le", "note", "outcome", "part",
    "partition", "reason", "redis", "result", "rule", "source", "status", "topic",
    "type", "version",
}  # fmt: skip


def ours() -> list[Metric]:
    return [metric for metric in REGISTRY.collect() if metric.name.startswith("invalidator_")]


def test_names_follow_the_conventions() -> None:
    from prometheus_client.metrics import MetricWrapperBase

    from invalidator.runtime import metrics

    for name, found in vars(metrics).items():
        if isinstance(found, MetricWrapperBase):
            assert name.isupper()
            assert set(found._labelnames) <= LABELS, name
    for metric in ours():
        assert metric.documentation.endswith("."), metric.name
        if metric.name.endswith(("_ms", "_minutes", "_kb")):
            pytest.fail(f"{metric.name}: base units only")


def test_a_gauge_that_is_asked_tells_what_is_known_now() -> None:
    asked = Asked("test_asked", "For this test.", ["who"])
    try:
        assert REGISTRY.get_sample_value("test_asked", {"who": "me"}) is None
        values = {"me": 1.0}
        asked.ask(lambda: [((who,), value) for who, value in values.items()])
        assert REGISTRY.get_sample_value("test_asked", {"who": "me"}) == 1
        values["me"] = 2.0
        assert REGISTRY.get_sample_value("test_asked", {"who": "me"}) == 2
        values.clear()  # a partition that was taken away
        assert REGISTRY.get_sample_value("test_asked", {"who": "me"}) is None
    finally:
        REGISTRY.unregister(asked)


def test_the_figures_of_the_status_are_metrics() -> None:
    from invalidator.admin.status import FIGURES, PREFIX

    known = {sample.name for metric in ours() for sample in metric.samples if not sample.labels}
    assert {f"{PREFIX}{name}" for name in FIGURES} <= known
