"""OpenTelemetry: a span for each batch, linked to the traces of its events.

INVALIDATOR_TRACES switches it on; OpenTelemetry is not imported otherwise. Its own variables, such
as OTEL_EXPORTER_OTLP_ENDPOINT, say where spans are sent.
"""

import asyncio
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from invalidator import __version__
from invalidator.errors import ConfigError
from invalidator.model import Batch
from invalidator.pipeline.work import Applied

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link, Span

MOST_LINKS: Final = 32  # of one span
MOST_LOOKED_AT: Final = 256  # events of a batch
FLUSH_WITHIN: Final = 3.0  # seconds
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SYSTEMS: Final = {"kafka": "kafka", "pubsub": "redis", "stream": "redis"}


class Spans(Protocol):
    """Makes a span for each batch of one source; the span rides on the batch."""

    def begin(self, batch: Batch, read_at: float) -> "Span | None": ...

    def end(self, applied: Applied, rejected: int) -> None: ...


class NoSpans:
    """Makes no span where nobody traces."""

    def begin(self, batch: Batch, read_at: float) -> "Span | None":
        return None

    def end(self, applied: Applied, rejected: int) -> None: ...


class Traces:
    """Makes all spans of a daemon, and sends them."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider

    def spans(self, source: str) -> Spans:
        """Return what makes the spans of a source's batches."""
        return BatchSpans(self._provider, source)

    async def close(self) -> None:
        """Send what is left; an unavailable collector must not delay the end."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # we did not wait so long
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), FLUSH_WITHIN)


def traces(exporter: "SpanExporter | None" = None) -> Traces:
    """Return what sends spans by OTLP over HTTP, or by that exporter.

    Raises ConfigError where the library is missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            "INVALIDATOR_TRACES=true needs OpenTelemetry, which is not installed: "
            "pip install 'invalidator[otel]'"
        ) from error
    found = Resource.create()  # what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "invalidator"}))
    provider = TracerProvider(resource=found)
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return Traces(provider)


class BatchSpans:
    """Makes spans that last from the read of a batch to its acknowledgement."""

    def __init__(self, provider: "TracerProvider", source: str) -> None:
        self._tracer = provider.get_tracer("invalidator", __version__)
        self._source = source

    def end(self, applied: Applied, rejected: int) -> None:
        if span := applied.seen.span:
            span.set_attributes(
                {
                    "invalidator.rules": applied.rules.hash,
                    "invalidator.names": applied.names,
                    "invalidator.existed": applied.outcome.existed,
                    "invalidator.unmatched": applied.unmatched,
                    "invalidator.rejected": rejected,
                }
            )
            span.end()

    def begin(self, batch: Batch, read_at: float) -> "Span | None":
        from opentelemetry.trace import SpanKind

        if not batch.events:
            return None

        attributes: dict[str, str | int] = {
            "messaging.operation.type": "process",
            "messaging.operation.name": "invalidate",
            "messaging.batch.message_count": batch.events,
        }
        if system := _SYSTEMS.get(self._source):
            attributes["messaging.system"] = system
        return self._tracer.start_span(
            f"invalidate {self._source}",
            kind=SpanKind.CONSUMER,
            start_time=int(read_at * 1e9),
            links=_links(batch),
            attributes=attributes,
        )


def _links(batch: Batch) -> "Sequence[Link]":
    """Return links to the traces that its events were published in, each once."""
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    looked_at = islice(_parents(batch), MOST_LOOKED_AT)
    found = dict.fromkeys(parent for parent in looked_at if parent)
    links = []
    for trace, span, flags in islice(found, MOST_LINKS):
        context = SpanContext(int(trace, 16), int(span, 16), True, TraceFlags(int(flags, 16)))
        if context.is_valid:
            links.append(Link(context))
    return links


def _parents(batch: Batch) -> Iterator[tuple[bytes, bytes, bytes] | None]:
    """Yield the `traceparent` of each event; None where there is none."""
    for part in batch.slices:
        for headers in part.headers:
            value = next((value for name, value in headers if name.lower() == "traceparent"), b"")
            match = _TRACEPARENT.match(value)
            yield (match[1], match[2], match[3]) if match else None
