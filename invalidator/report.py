"""What a pipeline tells people: a line and some counts for each batch, never an event at info."""

from collections.abc import Callable, Mapping

import structlog

from invalidator import metrics
from invalidator.logs import Repeats
from invalidator.model import Batch, Note, Plan
from invalidator.rules import RuleSet
from invalidator.settle import Applied

log = structlog.get_logger("invalidator")


class Reporter:
    """Of one source's batches."""

    def __init__(self, source: str, *, narrate: bool, clock: Callable[[], float]) -> None:
        """`narrate` tells of each event too."""
        self._source = source
        self._narrate = narrate
        self._repeats = Repeats(clock)

    def applied(self, batch: Batch, rules: RuleSet, plan: Plan) -> None:
        if plan.notes:
            self._pass_on(plan.notes)
        if self._narrate:
            self._tell(batch, rules)

    def settled(self, applied: Applied, rejected: int) -> None:
        batch, name = applied.batch, self._source
        for outcome, count in (
            ("applied", batch.events - applied.unmatched - rejected),
            ("unmatched", applied.unmatched),
            ("rejected", rejected),
        ):
            metrics.EVENTS.labels(name, outcome).inc(max(0, count))
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
