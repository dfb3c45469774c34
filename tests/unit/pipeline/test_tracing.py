"""A span for each batch, linked to the traces of its events."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from invalidator.model import Batch, Outcome, Record, Slice
from invalidator.pipeline.tracing import MOST_LINKS, traces
from invalidator.pipeline.work import Applied, Seen
from invalidator.rules import RuleSet
from tests.integration.piping import RULES, rules_from

Headers = Sequence[tuple[str, bytes]]


@pytest.fixture
def rules(tmp_path: Path) -> RuleSet:
    return rules_from(RULES, tmp_path)


def parent(trace: int, span: int = 7) -> Headers:
    return [("other", b"x"), ("traceparent", b"00-%032x-%016x-01" % (trace, span))]


def batch_of(*headers: Headers) -> Batch:
    part = Slice("t", [b"{}"] * len(headers), lambda _: Record("kafka", "t", "", b"{}"), headers)
    return Batch("kafka", [part], len(headers), 0, None)


async def spans_of(rules: RuleSet, *batches: Batch) -> Sequence[ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = traces(exporter)
    spans = tracing.spans("kafka")
    begun = [spans.begin(batch, 1.5) for batch in batches]  # before the first one ends
    for batch, span in zip(batches, begun, strict=True):
        seen = Seen((), {}, span)
        outcome = Outcome(existed=2)
        spans.end(Applied(batch.ended(), rules, [], outcome, 1, 5, 0.1, None, seen), 1)
    await tracing.close()
    return exporter.get_finished_spans()


async def test_a_batch_is_a_span_that_says_what_came_of_it(rules: RuleSet) -> None:
    first, second = await spans_of(rules, batch_of(parent(1), parent(2), []), batch_of([]))
    assert first.name == "invalidate kafka"
    assert first.resource.attributes["service.name"] == "invalidator"
    assert dict(first.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "invalidate",
        "messaging.batch.message_count": 3,
        "invalidator.rules": rules.hash,
        "invalidator.names": 5,
        "invalidator.existed": 2,
        "invalidator.unmatched": 1,
        "invalidator.rejected": 1,
    }
    assert first.start_time == 1_500_000_000
    assert [link.context.trace_id for link in first.links] == [1, 2]
    assert [link.context.span_id for link in first.links] == [7, 7]
    assert second.links == ()


async def test_links_are_bounded_and_each_is_made_once(rules: RuleSet) -> None:
    many = [parent(n) for n in range(1, MOST_LINKS + 10)]
    same, bounded = await spans_of(rules, batch_of(*[parent(1)] * 5), batch_of(*many))
    assert len(same.links) == 1
    assert len(bounded.links) == MOST_LINKS


async def test_a_traceparent_that_is_none_is_no_link(rules: RuleSet) -> None:
    wrong: list[Headers] = [[("traceparent", value)] for value in (b"", b"00-xyz", b"\xff")]
    (span,) = await spans_of(rules, batch_of(*wrong, parent(0), parent(3, span=0), parent(4)))
    assert [link.context.trace_id for link in span.links] == [4]


async def test_a_batch_without_events_is_no_span(rules: RuleSet) -> None:
    assert await spans_of(rules, batch_of()) == ()
