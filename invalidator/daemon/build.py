"""Builds what a daemon runs, and what metrics ask of it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from invalidator.pipeline.inflight import InFlight, Limits
from invalidator.pipeline.pause import Pause
from invalidator.pipeline.pipeline import Pipeline
from invalidator.pipeline.reject_brake import RejectBrake
from invalidator.pipeline.samples import Hits
from invalidator.pipeline.settlement import Letters
from invalidator.pipeline.tracing import Traces
from invalidator.pipeline.verifier import Verifier
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.metrics import MOST_LABELS
from invalidator.settings import Settings
from invalidator.sources.source import Source
from invalidator.targets.store import Store
from invalidator.targets.target import DryLetters, DryTarget, Target


def build_pipelines(
    settings: Settings,
    health: Health,
    sources: Sequence[Source],
    rules: Callable[[], RuleSet],
    target: Target,
    gate: str,
    letters: Letters,
    pause: Pause,
    traces: Traces | None,
    verifier: Verifier | None = None,
) -> Sequence[Pipeline]:
    """Return one pipeline for each source. A dry run has no brake, since it keeps nothing."""
    in_flight = InFlight(settings.in_flight.events, settings.in_flight.bytes)
    hits = Hits(target)
    dry = settings.dry_run
    return [
        Pipeline(
            source,
            rules,
            DryTarget(target) if dry else target,
            DryLetters() if dry else letters,
            in_flight=in_flight,
            limits=Limits.of(settings),
            health=health,
            gate=gate,
            hits=hits,
            brake=None if dry else RejectBrake(source, health.part("rules", server=False)),
            pause=pause,
            narrate=settings.log.level == "debug",
            spans=traces.spans(source.name) if traces else None,
            verifier=None if dry else verifier,
        )
        for source in sources
    ]


def connect_gauges(pipelines: Sequence[Pipeline], store: Store, health: Health) -> None:
    """Have these gauges ask for their values when somebody scrapes them."""
    metrics.OLDEST.ask(lambda: [((p.name,), p.oldest) for p in pipelines])
    metrics.TICKETS.ask(lambda: [((p.name,), p.tickets) for p in pipelines])
    metrics.LAG.ask(lambda: [((p.name,), sum(lag.values())) for p in pipelines if (lag := p.lag())])
    metrics.PARTITION_LAG.ask(lambda: [entry for p in pipelines for entry in _partitions(p)])
    metrics.PATTERNS_WAITING.ask(lambda: [((host.name,), host.waiting) for host in store.hosts])
    metrics.EDGE_WAITING.ask(
        lambda: [((lane.part.name,), float(lane.waiting)) for lane in store.edge_servers]
    )
    metrics.READY.ask(
        lambda: [((part.name,), float(not part.reason)) for part in health.parts.values()]
    )


def _partitions(pipeline: Pipeline) -> Iterator[tuple[Sequence[str], float]]:
    for (topic, partition), count in islice(sorted(pipeline.lag().items()), MOST_LABELS):
        if topic:
            yield (pipeline.name, topic, partition), count
