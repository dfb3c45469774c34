"""Events by HTTP: a request is answered once its event is applied.

The sender is the one who keeps an event: until it is answered with 200 it sends again, as services
and webhooks do. Nothing is acknowledged before it is applied or a dead letter, so nothing is lost
that was acknowledged. Each request is a batch of its own, since its answer names what was deleted.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog
from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.model import Batch, Record, Result, Slice
from invalidator.runtime.health import Part
from invalidator.runtime.http import Limits, Request, Response, Routes, Server, said
from invalidator.sources.gap import WENT_BACK, Gaps
from invalidator.sources.http.receipts import Receipt, Receipts
from invalidator.sources.http.senders import Sender
from invalidator.sources.recent import Recent, Watch
from invalidator.sources.reread import UNWATCHED, Servers, report_reread
from invalidator.sources.source import Lag

log = structlog.get_logger("invalidator")

MOMENT: Final = 0.5  # seconds that an empty read waits
SPARE: Final = 128  # connections besides those of requests that wait
CLOSE_WITHIN: Final = 2.0  # seconds that the last answers may take
# Secrets, which no dead letter may store, and what is about the connection alone.
NOT_KEPT: Final = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie"),
        *("host", "connection", "content-length", "accept", "accept-encoding", "prefer"),
    }
)


class Posted(Struct, frozen=True, eq=False):
    """One request."""

    channel: str  # its route
    value: bytes
    time_ms: int  # when it was received
    headers: tuple[tuple[str, bytes], ...]
    receipt: Receipt


class HttpSource:
    """Listens on a port of its own, with a path for each route."""

    name = "http"
    forgets = False
    overflowing: frozenset[str] = frozenset()  # senders wait, and get a receipt when it is too long

    def __init__(
        self,
        address: tuple[str, int],
        routes: Mapping[str, Sender],
        *,
        part: Part,
        wait: float = 10.0,
        buffer: int = 1000,
        max_bytes: int = 64 << 20,
        max_request: int = 1 << 20,
        servers: Servers = UNWATCHED,
        dry_run: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """A request is answered with a receipt if it takes longer than `wait` seconds.

        `buffer` requests of a route may wait to be read, and `max_bytes` of all routes.
        """
        self._address = address
        self._routes = routes
        self._part = part
        self._wait = wait
        self._buffer = buffer
        self._max_bytes = max_bytes
        self._dry_run = dry_run
        self._clock = clock
        self._waiting: dict[str, deque[Posted]] = {name: deque() for name in routes}
        self._bytes = 0  # of these
        self._unsettled: dict[str, Posted] = {}  # that were read, by the receipt's id
        self._recent: Recent[Posted] = Recent()  # that are settled
        self._servers = servers
        self._watch = Watch(servers, clock)
        self._gaps = Gaps(self.name, now=clock)
        self._paused: frozenset[str] = frozenset()
        self._arrived = asyncio.Event()
        self._receipts = Receipts()
        self._server: Server | None = None
        connections = buffer * len(routes) + SPARE
        self._limits = Limits(body=max_request, connections=connections)
        self._stopped = False
        self._closed = asyncio.Event()
        self.port = 0  # the one it listens on

    async def open(self) -> None:
        self._stopped = False
        self._closed.clear()
        if not self._server:
            server = Server(self._handlers(), limits=self._limits)
            host, port = self._address
            try:
                self.port = (await server.start(host, port))[1]
            except (OSError, UnicodeError) as error:
                raise Unavailable(self.name, f"cannot listen on {host}:{port}: {error}") from None
            self._server = server
            log.info("http-listening", host=host, port=self.port, routes=[*self._routes])
        self._part.ready()

    async def read(self, limit: int) -> Batch | None:
        self._go_back()
        if (posted := self._next()) is None and not self._gaps:
            await self._await_request()
            posted = self._next()
        if posted is None and not self._gaps:
            return None
        own = self._gaps.take()
        if posted is None:
            return Batch.of(self.name, [], None, own)
        self._unsettled[posted.receipt.id] = posted
        part = _slice(posted)
        return Batch(self.name, [part], 1, part.size, posted, own, result=Result())

    async def settle(self, batch: Batch) -> None:
        """Answer the sender, unless the request is to be read again."""
        posted = batch.ends
        if not isinstance(posted, Posted) or not self._unsettled.pop(posted.receipt.id, None):
            return
        assert batch.result
        posted.receipt.settle(batch.result, dry_run=self._dry_run)
        now = self._clock()
        self._recent.settle(self._recent.give([posted], len(posted.value), now), now)
        self._recent.forget(self._watch.safe)

    def pause(self, origins: frozenset[str]) -> None:
        for route in origins - self._paused:
            self._put_back(self._take_back(route))
        self._paused = origins
        self._arrived.set()

    def lag(self) -> Lag:
        return {(route, ""): len(waiting) for route, waiting in self._waiting.items()}

    async def keep_alive(self) -> None:
        """Do nothing: requests wait, up to the bounds."""

    async def stop(self) -> None:
        self._stopped = True
        self._arrived.set()

    async def close(self) -> None:
        self._closed.set()
        if self._server:
            await self._server.stop(CLOSE_WITHIN)
            self._server = None

    # --- requests ---------------------------------------------------------------------------

    def _handlers(self) -> Routes:
        posts = {("POST", f"/{route}"): partial(self._receive, route) for route in self._routes}
        return {**posts, ("GET", "/receipts/"): self._show}

    async def _receive(self, route: str, request: Request) -> Response:
        if refused := self._routes[route](request):
            return said(401, refused)
        if self._stopped:
            return _later("the daemon stops: send again")
        waiting = self._waiting[route]
        if len(waiting) >= self._buffer or self._bytes + len(request.body) > self._max_bytes:
            return _later("too many requests wait: send again")
        posted = self._posted(route, request)
        waiting.append(posted)
        self._bytes += len(posted.value)
        self._arrived.set()
        if "respond-async" not in request.header("Prefer"):
            await self._answered(posted.receipt)
        if self._closed.is_set() and not posted.receipt.settled.is_set():
            return _later("the daemon stopped before the event was applied: send again")
        return posted.receipt.answer()

    async def _answered(self, receipt: Receipt) -> None:
        """Wait until it is settled, or the source is closed, or it takes too long."""
        waits = [asyncio.create_task(each.wait()) for each in (receipt.settled, self._closed)]
        try:
            await asyncio.wait(waits, timeout=self._wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def _show(self, request: Request) -> Response:
        receipt = self._receipts.find(request.path.rpartition("/")[2])
        if receipt is None:
            why = "no such receipt: it is forgotten, or the daemon was restarted; send again"
            return said(404, why)
        return receipt.answer()

    def _posted(self, route: str, request: Request) -> Posted:
        headers = tuple(
            (name, value.encode("utf-8", "surrogateescape"))
            for name, value in request.headers.items()
            if name not in NOT_KEPT
        )
        time_ms = int(self._clock() * 1000)
        return Posted(route, request.body, time_ms, headers, self._receipts.new())

    # --- what waits -------------------------------------------------------------------------

    def _next(self) -> Posted | None:
        """Take the request that has waited longest, of a route that is not paused."""
        heads = [
            waiting
            for route, waiting in self._waiting.items()
            if waiting and route not in self._paused
        ]
        if not heads:
            return None
        posted = min(heads, key=lambda waiting: waiting[0].time_ms).popleft()
        self._bytes -= len(posted.value)
        return posted

    def _take_back(self, *routes: str) -> list[Posted]:
        """Remove and return what was read of these routes and is not settled."""
        again = [posted for posted in self._unsettled.values() if posted.channel in routes]
        for posted in again:
            del self._unsettled[posted.receipt.id]
        return again

    def _put_back(self, again: list[Posted]) -> None:
        for posted in reversed(again):
            self._waiting[posted.channel].appendleft(posted)
            self._bytes += len(posted.value)

    async def _await_request(self) -> None:
        if self._stopped:
            return
        self._arrived.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOMENT):
                await self._arrived.wait()

    def _go_back(self) -> None:
        """Take recent requests again if a cache may have lost what they deleted."""
        since = self._watch.lost_since()
        if since is None:
            return
        again, complete = self._recent.take_since(since)
        again += self._take_back(*self._routes)
        self._put_back(again)
        if again:
            report_reread(self.name, since, self._servers, {"requests": len(again)})
        if not complete:
            self._gaps.report(WENT_BACK, self._routes)


def _slice(posted: Posted) -> Slice:
    def record(_: int) -> Record:
        return Record(
            HttpSource.name,
            posted.channel,
            "",
            posted.value,
            headers=posted.headers,
            time_ms=posted.time_ms,
        )

    return Slice(posted.channel, [posted.value], record, [posted.headers])


def _later(why: str) -> Response:
    return said(503, why, headers={"Retry-After": "1"})
