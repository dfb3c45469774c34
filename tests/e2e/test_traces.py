"""The daemon exports traces by OTLP, and only where that is configured."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.backends import until_sync
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import AllowKeys, order

if TYPE_CHECKING:
    import redis


class Collector(HTTPServer):
    """A collector that keeps what was sent to it."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        super().__init__(("127.0.0.1", 0), Receiver)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_arrive_with_their_links(
    redis_url: str,
    run_daemon: RunDaemon,
    redis_now: "redis.Redis",
    allow_keys: AllowKeys,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allow_keys("events")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    daemon = run_daemon(REDIS_URL=redis_url, STREAMS__KEYS="events", TRACES="true").await_ready()
    traceparent = f"00-{5:032x}-{6:016x}-01"
    redis_now.xadd("events", {"event": order(1), "traceparent": traceparent})
    until_sync(lambda: daemon.events("flow"))
    assert daemon.stop() == 0  # it sends what it has
    (request,) = collector.requests
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert span.name == "invalidate stream"
    assert [int.from_bytes(link.trace_id, "big") for link in span.links] == [5]


def test_an_unavailable_collector_delays_nothing(
    redis_url: str,
    run_daemon: RunDaemon,
    redis_now: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders", TRACES="true").await_ready()
    redis_now.set("order:single:o1", "stale")
    redis_now.publish("orders", order(1))
    until_sync(lambda: not redis_now.exists("order:single:o1"))
    assert daemon.stop() == 0


def test_nothing_of_it_is_imported_without_it() -> None:
    program = "import invalidator.cli, invalidator.daemon.daemon, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    modules = done.stdout.decode().split()
    assert "invalidator.pipeline.tracing" in modules
    # The client library for Redis takes API and SDK along where they are installed.
    assert [name for name in modules if name.startswith("opentelemetry.exporter")] == []
