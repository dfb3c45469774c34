"""Rows 36-39: a cache at the edge that is down, slow, asks for less, fails, breaks off, refuses."""

import http.client
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Protocol

from tests.backends.edge_apis import (
    TOKEN,
    CloudflareApi,
    EdgeApi,
    FastlyApi,
    Webhook,
    half,
    slow,
    status,
)
from tests.backends.origin import Origin
from tests.backends.redis_server import RedisServer
from tests.backends.varnish import Varnish, documented_vcl
from tests.faults.caches import OneServer
from tests.faults.ledger import ORDER, RULES, Ledger
from tests.faults.proxy import Proxy
from tests.faults.rows import row
from tests.faults.stage import Stage

SLOW = 1.5  # seconds, beyond the timeout
ENOUGH = 40  # seconds that events flow at least, longer than all faults
SETTINGS = {"EDGE__TIMEOUT": "1s", "EDGE__RATE": "50/s", "EDGE__BURST": "500"}
Change = Callable[[], None]


class Edge(Protocol):
    """Has one name for each order."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Return the daemon's settings for it."""

    def fill(self, orders: Iterable[str]) -> None:
        """Keep the pages of all orders."""

    def stale(self) -> set[str]:
        """Return the orders whose old pages it still has."""

    def faults(self) -> Iterable[tuple[Change, Change]]:
        """Yield the beginning and the end of each fault."""


class Edged(OneServer):
    """A Redis with a cache in front of it. An order is there while either has it."""

    def __init__(self, server: RedisServer, edge: Edge) -> None:
        super().__init__(server)
        self.edge = edge

    def prime(self, ledger: Ledger) -> None:
        super().prime(ledger)
        self.edge.fill(entry.keys[0].split(":")[1] for entry in ledger.of(ORDER))

    def there(self) -> set[bytes]:
        return super().there() | {f"order:{order}:single".encode() for order in self.edge.stale()}


class Api:
    """A server that speaks the API of a service."""

    def __init__(self, api: EdgeApi) -> None:
        self._api = api
        self.settings = {"EDGE__URLS__PAGES": api.url, "EDGE__SECRETS__PAGES": TOKEN}

    def fill(self, orders: Iterable[str]) -> None:
        self._api.held |= {f"order:{order}" for order in orders}

    def stale(self) -> set[str]:
        return {tag.removeprefix("order:") for tag in [*self._api.held]}

    def faults(self) -> Iterable[tuple[Change, Change]]:
        api = self._api

        def end() -> None:
            api.fault, api.token = None, TOKEN
            if api.stopped:
                api.start()

        for fault in (slow(SLOW), status(429, Retry_After="1"), status(500), half):
            yield lambda fault=fault: setattr(api, "fault", fault), end  # type: ignore[misc]
        yield lambda: setattr(api, "token", "another"), end
        yield api.stop, end


class VarnishPages:
    """A real Varnish with a page for each order, behind a proxy."""

    def __init__(self, varnish: Varnish, origin: Origin, way: Proxy) -> None:
        self._varnish = varnish
        self._origin = origin
        self._way = way
        self._pages: dict[str, bytes] = {}
        self.settings = {"EDGE__URLS__PAGES": f"http://{way.address}"}

    def fill(self, orders: Iterable[str]) -> None:
        self._origin.tags |= {f"/orders/{order}": f"order:{order}" for order in orders}
        self._pages = self._seen(self._origin.tags)

    def stale(self) -> set[str]:
        seen = self._seen(self._pages)
        return {path.rpartition("/")[2] for path in seen if seen[path] == self._pages[path]}

    def faults(self) -> Iterable[tuple[Change, Change]]:
        way, varnish = self._way, self._varnish
        for name, value in (
            ("deaf", True),
            ("silent", True),
            ("delay", SLOW),
            ("swallow_replies", 9_999),
        ):
            yield lambda name=name, value=value: setattr(way, name, value), way.heal  # type: ignore[misc]
        for code in (403, 429, 500):
            answer = f'if (req.method == "PURGE") {{ return (synth({code})); }}'
            vcl = documented_vcl().replace("sub vcl_recv {", f"sub vcl_recv {{ {answer}")
            yield lambda vcl=vcl: varnish.use(vcl), lambda: varnish.use(documented_vcl())  # type: ignore[misc]

    def _seen(self, paths: Iterable[str]) -> dict[str, bytes]:
        found = {}
        with closing(
            http.client.HTTPConnection("127.0.0.1", self._varnish.port, timeout=60)
        ) as link:
            for path in paths:
                link.request("GET", path)
                found[path] = link.getresponse().read()
        return found


def _rules(target: str) -> str:
    rule = """\
  - name: order-pages
    on: order.updated
    cache: pages
    repeat_after: 200ms
    invalidate: {tags: ["order:{id}"]}
"""
    return RULES.replace("caches:\n", f"caches:\n  pages: {{target: {target}}}\n") + rule


def _play(at: Stage, target: str, edge: Edge, *, kills: bool = False, **more: int) -> None:
    redis = at.redis()
    load = at.events(Edged(redis, edge), at.topic(), at.stream(redis), **more)
    member = at.daemon(_rules(target), **SETTINGS, **edge.settings)
    at.warm()
    with load.flowing(rate=load.ledger.events / ENOUGH):
        for begin, end in edge.faults():
            begin()
            at.pause(2.5)
            at.note(member.ready(), "ready, though the edge took nothing")
            at.note(_redis_waits(at), "names for Redis waited for the edge")
            if kills:  # it may have acknowledged nothing that the edge has not taken
                member.kill()
                member = at.daemon(**SETTINGS, **edge.settings)
            end()
            if kills:
                member.await_ready()
            at.pause(1)
    load.publish()
    at.healed()


def _redis_waits(at: Stage) -> bool:
    """Return whether Redis still has many of the orders that were sent."""
    cache, load = at.load.cache, at.load
    assert isinstance(cache, Edged)
    there = OneServer.there(cache)
    sent = load.ledger.entries[: load.sent]
    return sum(entry.keys[0].encode() in there for entry in sent if entry.kind == ORDER) > 120


FAULTS = "in turn down, slow, 429, 500, half a response, a wrong token, each for 2.5 s"


@row(36, f"Varnish at the edge is {FAULTS}, silent", recover=20)
def varnish(at: Stage) -> None:
    origin = at.start(Origin())
    server = at.start(Varnish(origin.port))
    _play(at, "varnish", VarnishPages(server, origin, at.proxy(server.port)), count=2_500)


@row(37, f"Fastly's API is {FAULTS}", recover=20)
def fastly(at: Stage) -> None:
    _play(at, "fastly", Api(at.start(FastlyApi())))


@row(38, f"Cloudflare's API, which limits requests, is {FAULTS}", recover=20)
def cloudflare(at: Stage) -> None:
    _play(at, "cloudflare", Api(at.start(CloudflareApi(rate=60, bucket=500))))


@row(39, f"a service that takes webhooks is {FAULTS}; in each the daemon is killed", recover=20)
def webhook(at: Stage) -> None:
    _play(at, "http", Api(at.start(Webhook())), kills=True)
