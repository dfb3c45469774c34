"""OpenTelemetry: a span for each batch, linked to the traces of its events.

Off unless INVALIDATOR_TRACES says otherwise, and nothing of it is imported before. Where spans go
is said by OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT.
"""

import asyncio
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from invalidator import __version__
from invalidator.errors import ConfigError
from invalidator.model import Batch
from invalidator.pipeline.settlement import Applied

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
    """Told of each batch of one source, in its order."""

    def read(self, batch: Batch) -> None: ...

    def applied(self) -> None: ...

    def held(self) -> None: ...

    def settled(self, applied: Applied, rejected: int) -> None: ...


class NoSpans:
    """Where nobody traces."""

    def read(self, batch: Batch) -> None: ...

    def applied(self) -> None: ...

    def held(self) -> None: ...

    def settled(self, applied: Applied, rejected: int) -> None: ...


class Traces:
    """All spans of a daemon, and their way out."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider

    def spans(self, source: str) -> Spans:
        return BatchSpans(self._provider, source)

    async def close(self) -> None:
        """Send what is left; a collector that is away must not hold up the end."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # we did not wait
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), FLUSH_WITHIN)


def traces(exporter: "SpanExporter | None" = None) -> Traces:
    """By OTLP over HTTP, or with that exporter. A ConfigError where the library is missing."""
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
    """From the read of a batch to its acknowledgement."""

    def __init__(self, provider: "TracerProvider", source: str) -> None:
        self._tracer = provider.get_tracer("invalidator", __version__)
        self._source = source
        self._read: deque[Span | None] = deque()  # not applied
        self._applied: deque[Span | None] = deque()  # not settled

    def read(self, batch: Batch) -> None:
        self._read.append(self._begin(batch) if batch.events else None)

    def applied(self) -> None:
        span = self._read.popleft()
        if span:
            span.add_event("applied")  # keys, tags and versions; sweeps may still be to come
        self._applied.append(span)

    def held(self) -> None:
        """The batch that was applied last will be read again, as another span."""
        span = self._applied.pop()
        if span:
            span.add_event("held")
            span.end()

    def settled(self, applied: Applied, rejected: int) -> None:
        span = self._applied.popleft()
        if span:
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

    def _begin(self, batch: Batch) -> "Span":
        from opentelemetry.trace import SpanKind

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
            links=_links(batch),
            attributes=attributes,
        )


def _links(batch: Batch) -> "Sequence[Link]":
    """To the traces that its events were published in, each once."""
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
    """What the `traceparent` of each event says; None where there is none."""
    for part in batch.slices:
        for headers in part.headers:
            value = next((value for name, value in headers if name.lower() == "traceparent"), b"")
            match = _TRACEPARENT.match(value)
            yield (match[1], match[2], match[3]) if match else None
