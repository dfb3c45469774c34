"""deploy/example, as compose runs it, against local servers."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.backends.server import free_port
from tests.e2e.process import DaemonProcess
from tests.pages import TOP


def call(url: str, order: dict[str, Any] | None = None) -> tuple[int, str, Any]:
    """Status, whether the cache had it, and the order."""
    body = None if order is None else json.dumps(order).encode()
    request = urllib.request.Request(url, body, method="PUT" if order is not None else "GET")
    try:
        with urllib.request.urlopen(request, timeout=10) as got:
            return got.status, got.headers.get("X-Cache", ""), json.loads(got.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", error.read().decode()
    except OSError as error:
        return 0, "", str(error)


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return kafka.topic(partitions=3)


@pytest.fixture
def orders(redis_url: str, kafka: Kafka, topic: str) -> Iterator[str]:
    """The URL of the service."""
    port = free_port()
    given = {"REDIS_URL": redis_url, "KAFKA_BROKERS": kafka.bootstrap, "TOPIC": topic}
    process = subprocess.Popen(
        [sys.executable, str(TOP / "deploy" / "example" / "orders.py")],
        env=os.environ | given | {"HTTP_PORT": str(port)},
        stderr=subprocess.PIPE,
    )
    url = f"http://127.0.0.1:{port}/orders/ord_1"
    try:
        until_sync(lambda: call(url)[0] == 404, 30, "the service answers")
        yield url
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said.decode()


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
        first = {"customerId": "c7", "total": 5}
        assert call(orders, first)[0] == 200
        until_sync(lambda: daemon.events("batch"), what="the first event")
        assert call(orders)[1:] == ("miss", {"orderId": "ord_1", **first})
        assert call(orders)[1] == "hit"
        assert call(orders, {**first, "total": 6})[0] == 200
        until_sync(lambda: call(orders)[2]["total"] == 6, what="the new total")
        assert daemon.stop() == 0
    until_sync(lambda: call(orders)[1] == "hit")


def test_an_order_without_a_total_is_refused(orders: str) -> None:
    assert call(orders, {"customerId": "c7"})[0] == 400
    assert call(orders)[0] == 404
