"""Knows how to make and feed each source. Another source needs one more class here."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any

import redis

from invalidator.model import Batch, Record
from invalidator.redisclient import client
from invalidator.runtime.health import Part
from invalidator.sources.http.source import HttpSource
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.source import KafkaSource
from invalidator.sources.pubsub.source import PubSubSource
from invalidator.sources.reread import UNWATCHED, Servers
from invalidator.sources.source import Source, Start
from invalidator.sources.stream.source import StreamSource
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka, unique
from tests.backends.redis_server import RedisServer
from tests.backends.server import Server, free_port
from tests.backends.waiting import LIMIT
from tests.memory_source import MemorySource


class Fleet:
    """Cache servers whose identity a test changes."""

    reason = "a test says so"
    window = 3600.0

    def __init__(self, identity: str) -> None:
        self.identity = identity


class Harness(ABC):
    """One source on a server, with a place of its own to publish to."""

    keeps = True  # gives unsettled records again, to a new instance
    positions = True  # its records have positions
    late_settling = False  # batches that were read before it was opened again can be settled
    origins: Sequence[str]  # where a test may publish

    @abstractmethod
    def source(self, max_wait: float = 0.0, servers: Servers = UNWATCHED) -> Source:
        """A new instance, as another process would make it."""

    @abstractmethod
    def publish(self, *values: bytes | None, origin: int = 0) -> None:
        """Publish to one of the origins, and return when all is there."""


class MemoryHarness(Harness):
    origins = ("memory",)

    def __init__(self) -> None:
        self._only = MemorySource()

    def source(self, max_wait: float = 0.0, servers: Servers = UNWATCHED) -> Source:
        return self._only  # its records are in the memory of this instance

    def publish(self, *values: bytes | None, origin: int = 0) -> None:
        self._only.publish(*values)


class PubSubHarness(Harness):
    """Subscribes to the second origin by a glob."""

    keeps = False
    positions = False

    def __init__(self, url: str) -> None:
        self._url = url
        stem = unique("orders")
        self.origins = (stem, f"{stem}:eu")

    def source(self, max_wait: float = 0.0, servers: Servers = UNWATCHED) -> Source:
        return PubSubSource(
            client(self._url, timeout=2.0),
            [self.origins[0], f"{self.origins[0]}:*"],
            part=Part("pubsub"),
            buffer=1000,
            max_wait=max_wait,
            servers=servers,
        )

    def publish(self, *values: bytes | None, origin: int = 0) -> None:
        with redis.Redis.from_url(self._url, protocol=2) as publisher:
            for value in values:
                assert value is not None
                publisher.publish(self.origins[origin], value)


class HttpHarness(Harness):
    """Sends from a thread, one request after the other, and asks for receipts."""

    keeps = False
    positions = False
    origins = ("orders", "items")

    def __init__(self) -> None:
        self._port = free_port()
        self._sender = ThreadPoolExecutor(1)

    def source(self, max_wait: float = 0.0, servers: Servers = UNWATCHED) -> Source:
        routes = dict.fromkeys(self.origins, lambda _: "")
        address = ("127.0.0.1", self._port)
        return HttpSource(address, routes, part=Part("http"), servers=servers)

    def publish(self, *values: bytes | None, origin: int = 0) -> None:
        """The source runs in this very thread, and can answer only when it is read."""
        for value in values:
            assert value is not None
            self._sender.submit(self._send, self.origins[origin], value)

    def _send(self, route: str, value: bytes) -> None:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=LIMIT)) as connection:
            connection.request("POST", f"/{route}", value, {"Prefer": "respond-async"})
            connection.getresponse().read()


class StreamHarness(Harness):
    late_settling = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._group = unique("group")
        self.origins = (unique("orders"), unique("items"))

    def source(self, max_wait: float = 0.0, servers: Servers = UNWATCHED) -> Source:
        return StreamSource(
            client(self._url, timeout=2.0),
            self.origins,
            group=self._group,
            consumer="one",
            start=Start("earliest"),
            timeout=2.0,
            max_wait=max_wait,
            servers=servers,
        )

    def publish(self, *values: bytes | None, origin: int = 0) -> None:
        with redis.Redis.from_url(self._url, protocol=2) as publisher:
            for value in values:
                assert value is not None
                publisher.xadd(self.origins[origin], {"event": value})


class KafkaHarness(Harness):
    def __init__(self, bootstrap: str, kafka: Kafka | None = None) -> None:
        self._bootstrap = bootstrap
        self._kafka = kafka
        self._group = unique("group")
        self.origins = (unique("orders"), unique("items"))

    def prepare(self) -> None:
        """Create the topics; the broker must be running."""
        self._kafka = self._kafka or Kafka(self._bootstrap)
        for topic in self.origins:
            self._kafka.create_topic(topic)

    def source(self, max_wait: float = 0.0, servers: Servers = UNWATCHED) -> Source:
        return KafkaSource(
            Brokers([self._bootstrap]),
            self.origins,
            self._group,
            start=Start("earliest"),
            part=Part("kafka"),
            max_wait=max_wait,
            servers=servers,
        )

    def publish(self, *values: bytes | None, origin: int = 0) -> None:
        assert self._kafka
        self._kafka.produce(self.origins[origin], values)


class Private:
    """A source whose server is the test's own, and does not run yet."""

    def __init__(self, server: Server, harness: Harness) -> None:
        self.server = server
        self.harness = harness

    def start(self) -> None:
        self.server.start()
        if isinstance(self.harness, KafkaHarness):
            self.harness.prepare()


def private(name: str) -> Iterator[Private]:
    port = free_port()
    with ExitStack() as stack:
        server: Server = KafkaBroker(port) if name == "kafka" else RedisServer(port)
        stack.callback(server.close)
        yield Private(server, _harness(name, server.address))


def _harness(name: str, address: str) -> Harness:
    match name:
        case "pubsub":
            return PubSubHarness(f"redis://{address}")
        case "stream":
            return StreamHarness(f"redis://{address}")
        case _:
            return KafkaHarness(address)


async def read(source: Source, count: int, limit: int = 100) -> list[Batch]:
    """Read batches until they hold that many events."""
    batches: list[Batch] = []
    deadline = time.monotonic() + LIMIT
    while (have := sum(batch.events for batch in batches)) < count:
        assert time.monotonic() < deadline, f"{have} of {count} came within {LIMIT:g} s"
        if batch := await source.read(limit):
            batches.append(batch)
    return batches


def records(batches: Sequence[Batch]) -> list[Record]:
    """Return all published records, without gaps."""
    parts = [part for batch in batches for part in batch.slices]
    return [part.record(index) for part in parts for index in range(len(part.values))]


def raws(batches: Sequence[Batch]) -> list[bytes | None]:
    return [record.raw for record in records(batches)]


def tasks() -> set["asyncio.Task[Any]"]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
