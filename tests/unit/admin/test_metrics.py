"""What /metrics answers, in the form that is asked for."""

import gzip
from unittest.mock import Mock

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_metrics

from invalidator.admin.server import Admin
from invalidator.runtime import metrics
from invalidator.runtime.http import Request, Response
from invalidator.settings import Settings

PROMETHEUS = (  # what Prometheus 2.53 sends
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


async def scraped(**headers: str) -> Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    route = Admin(Mock(), Mock(), Settings())._routes()["GET", "/metrics"]
    return await route(Request("GET", "/metrics", {}, given))


async def test_without_a_wish_the_plain_format_is_sent() -> None:
    answer = await scraped()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "Content-Encoding" not in answer.headers
    names = {family.name for family in plain_metrics(answer.body.decode())}
    assert "invalidator_sweeps" in names


async def test_openmetrics_is_sent_to_who_accepts_it() -> None:
    answer = await scraped(accept=PROMETHEUS)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.body.endswith(b"# EOF\n")
    assert list(open_metrics(answer.body.decode()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("accepted", ["gzip", "deflate, gzip;q=0.8", "GZIP"])
async def test_it_is_compressed_for_who_accepts_that(accepted: str) -> None:
    answer = await scraped(accept_encoding=accepted)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert b"# TYPE invalidator_sweeps_total counter" in gzip.decompress(answer.body)
    assert len(answer.body) * 3 < len(gzip.decompress(answer.body))


async def test_no_series_says_when_it_was_created() -> None:
    metrics.RETRIES.labels("redis", "timeout").inc()
    assert b"_created" not in (await scraped()).body
