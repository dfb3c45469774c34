"""Reports of a pipeline: counts for each batch, a line now and then, never an event at info."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from invalidator.model import Batch, Note, Rejection
from invalidator.pipeline.flow import Flow
from invalidator.pipeline.reasons import Reasons
from invalidator.pipeline.samples import Sample, type_label
from invalidator.pipeline.tail import Tail
from invalidator.pipeline.tracing import NoSpans, Spans
from invalidator.pipeline.verifier import NoVerifier, Verifier
from invalidator.pipeline.work import Applied, Seen, Work
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.logs import Repeats

log = structlog.get_logger("invalidator")

MILLISECOND: Final = 1e-3


class Reporter:
    """Reports the batches of one source."""

    def __init__(
        self,
        source: str,
        *,
        narrate: bool,
        clock: Callable[[], float],
        spans: Spans | None = None,
        verifier: Verifier | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`narrate` logs each event, too."""
        self._source = source
        self._narrate = narrate
        self.flow = Flow(source, clock)
        self._repeats = Repeats(clock)
        self._spans = spans or NoSpans()
        self.now = now
        self.reasons = Reasons()
        self.tail = Tail(source)
        self.verifier = verifier or NoVerifier()
        self._unsettled: set[Seen] = set()
        self._applied_age = metrics.EVENT_TO_APPLIED_SECONDS.labels(source)
        self._settled_age = metrics.EVENT_TO_SETTLED_SECONDS.labels(source)

    @property
    def oldest(self) -> float:
        """Return the age of the oldest unsettled event in seconds; 0 where there is none."""
        return max(0.0, self.now() - min((s.oldest for s in self._unsettled), default=1e99))

    def planned(self, batch: Batch, sample: Sample, read_at: float) -> Seen:
        """Return what is reported of the batch later."""
        span = self._spans.begin(batch, read_at)
        seen = Seen(times_of(batch, read_at), sample.types, span, read_at)
        self._unsettled.add(seen)
        return seen

    def applied(self, work: Work) -> None:
        """Report a batch whose keys, tags and versions are gone; sweeps may still be to come."""
        now = self.now()
        for published in work.seen.published:
            self._applied_age.observe(max(0.0, now - published))
        self.tail.tell(work.plan.caches, now)
        if work.rules.verified:
            self.verifier.applied(work, now)
        if work.seen.span:
            work.seen.span.add_event("applied")
        if work.plan.notes:
            self._log_notes(work.plan.notes)
        if self._narrate:
            _log_events(work.batch, work.rules)

    def settled(self, applied: Applied, rejections: Sequence[Rejection]) -> None:
        """Report a batch that is acknowledged."""
        batch, name, rejected = applied.batch, self._source, len(rejections)
        self._unsettled.discard(applied.seen)
        if batch.events:
            self._settled_age.observe(max(0.0, self.now() - applied.seen.oldest))
        self._spans.end(applied, rejected)
        self._count(applied, rejections)
        if applied.rules.verified:
            self.verifier.settled(applied, rejections, self.now())
        self.reasons.add(rejections, self.now())
        metrics.BATCHES.labels(name).inc()
        metrics.BATCH_EVENTS.labels(name).observe(batch.events)
        metrics.APPLY_SECONDS.labels(name).observe(applied.seconds)
        counts = {
            "events": batch.events,
            "names": applied.names,
            "existed": applied.outcome.existed,
            "unmatched": applied.unmatched,
            "rejected": rejected,
        }
        self.flow.add(**counts)
        if any(counts.values()):
            log.debug("batch", source=name, **counts, ms=round(applied.seconds * 1000, 1))

    def ended(self, early: int) -> None:
        """Report what is not reported yet, and second passes that were made before their time."""
        self.flow.report()
        if early:
            log.warning(
                "second-passes-early",
                source=self._source,
                batches=early,
                reason="the source does not deliver their events again, and they were due after "
                "the drain",
            )

    def _count(self, applied: Applied, rejections: Sequence[Rejection]) -> None:
        """Count by outcome and type; applied events divide into types as those of the sample."""
        types = applied.seen.types or {metrics.OTHER: 1}
        share = (applied.batch.events - applied.unmatched - len(rejections)) / sum(types.values())
        for kind, count in types.items() if share > 0 else ():
            metrics.EVENTS.labels(self._source, kind, "applied").inc(share * count)
        if applied.unmatched:
            metrics.EVENTS.labels(self._source, metrics.OTHER, "unmatched").inc(applied.unmatched)
        for rejection in rejections:
            kind = type_label(applied.rules, rejection.type)
            metrics.EVENTS.labels(self._source, kind, "rejected").inc()

    def _log_notes(self, notes: Mapping[tuple[str, str], Note]) -> None:
        """Log what an operator should know of a rule, now and then, for all its events."""
        for (rule, word), note in notes.items():
            metrics.NOTES.labels(rule, word).inc(note.count)
            skipped = self._repeats.admit((rule, word))
            if skipped is not None:
                first = {"first": note.message} if self._narrate else {}  # it may quote the event
                log.warning(word, rule=rule, suppressed=skipped, events=note.count, **first)


def times_of(batch: Batch, now: float) -> list[float]:
    """Return when the first and the last event of each slice were published; a record without a
    time counts as published now."""
    found = []
    for part in batch.slices:
        for index in {0, len(part.values) - 1} if part.values else ():
            published = part.record(index).time_ms
            found.append(now if published is None else published * MILLISECOND)
    return found


def _log_events(batch: Batch, rules: RuleSet) -> None:
    """Log event by event, planned once more: for a person who watches, never on the hot path."""
    for record in batch.records():
        explained = rules.explain(record)
        for verdict in explained.verdicts:
            if verdict.matched and explained.event:
                names: dict[str, list[str]] = {}
                for name in verdict.names:
                    names.setdefault(name.kind, []).append(name.name)
                log.debug("invalidated", type=explained.event.type, rule=verdict.rule, **names)
