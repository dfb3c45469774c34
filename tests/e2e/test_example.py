"""deploy/example, as compose runs it, on local servers, and used as docs/operations.md says."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.backends import until_sync
from tests.backends.choose import missing
from tests.backends.kafka_client import Kafka, unique
from tests.backends.server import free_port
from tests.backends.varnish import NO_VARNISH, Varnish, documented_vcl
from tests.e2e.process import DaemonProcess
from tests.pages import TOP, apart

(BLOCK,) = apart(__file__)
WRITE, READ, AGAIN, ANEW, VIEWS = BLOCK.text.splitlines()
ABSENT = "404 Not Found"


def typed(line: str, orders: str) -> str:
    """Return what a line of the page prints; nothing where nobody answers."""
    words = ["bash", "-euo", "pipefail", "-c", line.replace("localhost:8000", orders)]
    return subprocess.run(words, capture_output=True, text=True).stdout


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return kafka.topic(partitions=3)


@pytest.fixture
def orders(
    redis_url: str, kafka: Kafka, topic: str, postgres: str, allow_keys: Callable[..., None]
) -> Iterator[str]:
    """Yield the address of the service."""
    allow_keys("invalidator:behind:{views}*")  # empty, and the number of its last entry
    port = free_port()
    address = f"127.0.0.1:{port}"
    given = {"REDIS_URL": redis_url, "KAFKA_BROKERS": kafka.bootstrap, "TOPIC": topic}
    given["DATABASE_URL"] = postgres
    process = subprocess.Popen(
        [sys.executable, str(TOP / "deploy" / "example" / "orders.py")],
        env=os.environ | given | {"HTTP_PORT": str(port)},
        stderr=subprocess.PIPE,
    )
    try:
        until_sync(lambda: ABSENT in typed(READ, address), what="the service answers")
        yield address
    finally:
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM), said.decode()  # uvicorn ends by the signal
    assert b"Traceback" not in said, said.decode()


def test_a_change_makes_the_cached_order_stale(
    redis_url: str, kafka: Kafka, topic: str, orders: str, allow_keys: Callable[..., None]
) -> None:
    allow_keys("order:single:*")
    settings = {
        "RULES": str(TOP / "rules.yaml"),
        "REDIS_URL": redis_url,
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA__TOPICS": topic,
        "KAFKA__GROUP_ID": unique("example"),
    }
    with closing(DaemonProcess(settings)) as daemon:
        daemon.await_ready()
        typed(WRITE, orders)
        until_sync(lambda: daemon.events("flow"), what="the first event")
        for line in (READ, AGAIN):
            head, _, order = typed(line, orders).replace("\r", "").partition("\n\n")
            assert line.partition("# ")[2] in head.splitlines()
            assert json.loads(order) == {"orderId": "1", "customerId": "c7", "total": 5}
        typed(ANEW, orders)
        until_sync(lambda: '"total":6' in typed(READ, orders), what="the new total")
        assert daemon.stop() == 0
    until_sync(lambda: "x-cache: hit" in typed(READ, orders))


def test_views_are_counted_in_the_database(orders: str) -> None:
    read, views = (line.replace("orders/1", "orders/2") for line in (READ, VIEWS))
    for _ in range(7):
        assert ABSENT in typed(read, orders)
    until_sync(lambda: typed(views, orders) == "7")


def test_an_order_without_a_total_is_refused(orders: str) -> None:
    said = typed(WRITE.replace('"total"', '"sum"'), orders)
    assert "expected customerId and total: Object missing required field `total`" in said
    assert ABSENT in typed(READ, orders)


def test_a_change_reaches_the_page_at_the_edge(
    redis_url: str, kafka: Kafka, topic: str, orders: str, allow_keys: Callable[..., None]
) -> None:
    """The entry in Redis and the page at a real Varnish are gone, and the next request is fresh."""
    allow_keys("order:single:*")
    if not Varnish.available():
        missing(NO_VARNISH)
    with Varnish(int(orders.partition(":")[2])) as varnish:
        settings = {
            "RULES": str(TOP / "deploy" / "example" / "rules.yaml"),
            "REDIS_URL": redis_url,
            "EDGE__URLS__PAGES": varnish.url,
            "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
            "KAFKA__TOPICS": topic,
            "KAFKA__GROUP_ID": unique("edge"),
        }
        with closing(DaemonProcess(settings)) as daemon:
            daemon.await_ready()
            typed(WRITE, orders)
            until_sync(lambda: '"total":5' in varnish.get("/orders/1")[1], what="the page")
            status, _, headers = varnish.get("/orders/1")
            assert (status, headers["cache-control"].partition(",")[0]) == (200, "public")
            until_sync(lambda: int(varnish.get("/orders/1")[2]["Age"]) > 0, what="it is cached")
            typed(ANEW, orders)
            until_sync(lambda: '"total":6' in varnish.get("/orders/1")[1], what="the new page")


def test_the_vcl_of_the_example_is_the_documented_one() -> None:
    ours = (TOP / "deploy" / "example" / "default.vcl").read_text().partition("\n")[2]
    theirs = documented_vcl()
    differ = [line for line in ours.splitlines() if line not in theirs.splitlines()]
    assert [line.split()[0] for line in differ] == ["backend", "acl"]
