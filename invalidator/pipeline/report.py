"""What a pipeline tells people: a line and some counts for each batch, never an event at info."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from invalidator.model import Batch, Note, Plan, Rejection
from invalidator.pipeline.ages import Ages
from invalidator.pipeline.mix import Mix, Types, type_label
from invalidator.pipeline.settlement import Applied
from invalidator.pipeline.tracing import NoSpans, Spans
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.logs import Repeats

log = structlog.get_logger("invalidator")


class Reporter:
    """Of one source's batches."""

    def __init__(
        self,
        source: str,
        *,
        max_event_bytes: int,
        narrate: bool,
        clock: Callable[[], float],
        spans: Spans | None = None,
    ) -> None:
        """`narrate` tells of each event too."""
        self._spans = spans or NoSpans()
        self._source = source
        self._narrate = narrate
        self._repeats = Repeats(clock)
        self._mix = Mix(max_event_bytes)
        self._types: deque[Types] = deque()  # of each batch that is applied and not settled
        self.ages = Ages(source)

    def read(self, batch: Batch) -> None:
        self.ages.read(batch)
        self._spans.read(batch)

    def applied(self, batch: Batch, rules: RuleSet, plan: Plan) -> None:
        self.ages.applied()
        self._spans.applied()
        self._types.append(self._mix.count(batch, rules))
        if plan.notes:
            self._pass_on(plan.notes)
        if self._narrate:
            self._tell(batch, rules)

    def held(self) -> None:
        """The batch that was applied last will be read again."""
        self._types.pop()
        self.ages.held()
        self._spans.held()

    def settled(self, applied: Applied, rejections: Sequence[Rejection]) -> None:
        batch, name, rejected = applied.batch, self._source, len(rejections)
        self.ages.settled(batch)
        self._spans.settled(applied, rejected)
        self._count(applied, rejections)
        metrics.BATCHES.labels(name).inc()
        metrics.BATCH_EVENTS.labels(name).observe(batch.events)
        metrics.APPLY_SECONDS.labels(name).observe(applied.seconds)
        log.info(
            "batch",
            source=name,
            events=batch.events,
            names=applied.names,
            existed=applied.outcome.existed,
            unmatched=applied.unmatched,
            rejected=rejected,
            ms=round(applied.seconds * 1000, 1),
        )

    def ended(self, early: int) -> None:
        if early:
            log.warning(
                "second-passes-early",
                source=self._source,
                batches=early,
                reason="the source does not give them again, and they were due after the drain",
            )

    def _count(self, applied: Applied, rejections: Sequence[Rejection]) -> None:
        """By outcome and type. What was applied divides into types as its sample did."""
        found = self._types.popleft()
        share = applied.batch.events - applied.unmatched - len(rejections)
        total = sum(found.values())
        for kind, count in (found if total else {metrics.OTHER: 1}).items():
            self._add(kind, "applied", share * count / (total or 1))
        self._add(metrics.OTHER, "unmatched", applied.unmatched)
        for name, times in Counter(rejection.type for rejection in rejections).items():
            self._add(type_label(applied.rules, name), "rejected", times)

    def _add(self, kind: str, outcome: str, count: float) -> None:
        if count > 0:
            metrics.EVENTS.labels(self._source, kind, outcome).inc(count)

    def _pass_on(self, notes: Mapping[tuple[str, str], Note]) -> None:
        """What an operator should know of a rule; now and then, however many events it was."""
        for (rule, word), note in notes.items():
            metrics.NOTES.labels(rule, word).inc(note.count)
            held = self._repeats.admit((rule, word))
            if held is not None:
                told = {"first": note.message} if self._narrate else {}  # it may quote the event
                log.warning(word, rule=rule, held_back=held, events=note.count, **told)

    def _tell(self, batch: Batch, rules: RuleSet) -> None:
        """Event by event, planned once more: for a person who watches, never on the hot path."""
        for record in batch.records():
            told = rules.explain(record)
            for verdict in told.verdicts:
                if verdict.matched and told.event:
                    names: dict[str, list[str]] = {}
                    for name in verdict.names:
                        names.setdefault(name.kind, []).append(name.name)
                    log.debug("invalidated", type=told.event.type, rule=verdict.rule, **names)
