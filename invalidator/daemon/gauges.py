"""Gauges that are asked when somebody looks: who knows their values."""

from collections.abc import Iterator, Sequence
from itertools import islice

from invalidator.pipeline.pipeline import Pipeline
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.metrics import MOST_LABELS
from invalidator.targets.store import Store


def connect(pipelines: Sequence[Pipeline], store: Store, health: Health) -> None:
    """From now on these answer."""
    metrics.OLDEST.ask(lambda: [((p.name,), p.oldest) for p in pipelines])
    metrics.TICKETS.ask(lambda: [((p.name,), p.tickets) for p in pipelines])
    metrics.LAG.ask(lambda: [((p.name,), sum(lag.values())) for p in pipelines if (lag := p.lag())])
    metrics.PARTITION_LAG.ask(lambda: [entry for p in pipelines for entry in _partitions(p)])
    metrics.PATTERNS_WAITING.ask(lambda: [((host.name,), host.waiting) for host in store.hosts])
    metrics.READY.ask(
        lambda: [((part.name,), float(not part.reason)) for part in health.parts.values()]
    )


def _partitions(pipeline: Pipeline) -> Iterator[tuple[Sequence[str], float]]:
    for (topic, partition), count in islice(sorted(pipeline.lag().items()), MOST_LABELS):
        if topic:
            yield (pipeline.name, topic, partition), count
