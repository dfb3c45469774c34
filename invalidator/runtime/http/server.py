"""Listen, and answer on each connection: requests in order, one before the next is read."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import h11
import structlog
from msgspec import Struct
from msgspec.structs import replace

from invalidator.errors import place_of
from invalidator.runtime.http.message import Request, Response, packed, request_of, said
from invalidator.runtime.tasks import end

PIECE: Final = 16 << 10  # bytes that are read in one call, and kept ahead
HEAD: Final = 16 << 10  # bytes of a request head
LINGERING: Final = 2.0  # seconds that a peer has to read our last answer while it still sends
LONGEST_REASON: Final = 200  # characters that say what was wrong with a request
# States of a peer whose request was not read to its end.
UNREAD: Final = (h11.IDLE, h11.SEND_BODY, h11.ERROR)
CONTINUE: Final = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")


class Limits(Struct, frozen=True):
    """The limits of a server."""

    body: int = 1 << 20  # bytes
    too_large: str = "the body is too large"  # the error for a larger one
    connections: int = 128
    idle: float = 75.0  # seconds until a request begins
    arrival: float = 10.0  # seconds from its first byte to its last
    reading: float = 30.0  # seconds until the peer has received an answer


class Connection:
    """A slow, absent or broken peer ends its own connection and nothing else."""

    def __init__(
        self, site: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._site = site
        self._limits = site.limits
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, HEAD)
        self._method = ""
        self._last = False  # no request after this one
        self._reads = True  # false while a request is worked on and answered
        self.since = time.monotonic()  # when we began to wait for the peer; inf while we work
        writer.transport.set_write_buffer_limits(0)  # so that `drain` waits until all is sent

    async def run(self) -> None:
        """Answer requests until one side ends the connection."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
                await asyncio.sleep(0)  # pipelined requests must not keep others waiting
        except OSError:  # the peer closed the connection, or exceeded a timeout
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection immediately, without what the peer has not received."""
        self.since = math.inf
        self._writer.transport.abort()

    def finish(self) -> None:
        """Answer the request that is worked on, and no further one."""
        self._last = True
        if self._reads:
            self.abort()

    async def _exchange(self) -> bool:
        """Answer one request; return true if another may follow."""
        self._reads, self.since = True, time.monotonic()
        if not await self._begun():
            return False
        answer = await self._answer()
        if answer.stream is not None:
            await self._pour(answer, answer.stream)
            return False
        await self._send(self._whole(answer))
        if self._last:
            return False
        if self._http.our_state is not h11.DONE:
            await self._linger()
            return False
        return True

    async def _answer(self) -> Response:
        asked = await self._arrived()
        self._reads, self.since = False, math.inf
        return asked if isinstance(asked, Response) else await self._site.answer(asked)

    async def _begun(self) -> bool:
        """Return true if another request begins in time, or came together with the last."""
        if not self._http.trailing_data[0]:
            async with asyncio.timeout(self._limits.idle):
                self._http.receive_data(await self._reader.read(PIECE))
        return bool(self._http.trailing_data[0])

    async def _arrived(self) -> Request | Response:
        """Return the whole request, or the error response."""
        self._method = ""
        try:
            async with asyncio.timeout(self._limits.arrival):
                return await self._read()
        except TimeoutError:
            return said(408, f"the request took more than {self._limits.arrival:g} s to arrive")
        except h11.RemoteProtocolError as error:
            return said(error.error_status_hint, str(error)[:LONGEST_REASON])

    async def _read(self) -> Request | Response:
        request = request_of(await self._event())
        self._method = request.method
        if not has_body(request):
            await self._event()  # its end
        if refusal := self._site.refusal(request):
            return refusal
        if not has_body(request):
            return request
        if length(request) > self._limits.body:
            return self._too_large()
        return await self._read_body(request)

    async def _read_body(self, request: Request) -> Request | Response:
        if self._http.they_are_waiting_for_100_continue:
            self._writer.write(self._http.send(CONTINUE))
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > self._limits.body:
                return self._too_large()
        return replace(request, body=bytes(body))

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(PIECE))
        return event

    def _too_large(self) -> Response:
        return said(413, self._limits.too_large)

    def _whole(self, answer: Response) -> bytes:
        headers = {**self._site.headers(answer), "Content-Length": str(len(answer.body))}
        if self._last or self._http.their_state in UNREAD:
            headers["Connection"] = "close"
        head = h11.Response(
            status_code=answer.status,
            headers=[*headers.items()],
            reason=HTTPStatus(answer.status).phrase,
        )
        body = b"" if self._method == "HEAD" else answer.body
        return packed(self._http, head, body)

    async def _pour(self, answer: Response, stream: AsyncGenerator[bytes, None]) -> None:
        """Send a response of unknown length; the connection ends with it."""
        headers = {**self._site.headers(answer), "Connection": "close"}
        reason = HTTPStatus(answer.status).phrase
        head = h11.Response(status_code=answer.status, headers=[*headers.items()], reason=reason)
        try:
            await self._send(self._http.send(head))
            if self._method == "HEAD":
                return
            async for piece in stream:
                await self._send(self._http.send(h11.Data(data=piece)))
                self.since = math.inf
        finally:
            await stream.aclose()

    async def _send(self, message: bytes) -> None:
        self.since = time.monotonic()
        async with asyncio.timeout(self._limits.reading):
            self._writer.write(message)
            await self._writer.drain()

    async def _linger(self) -> None:
        """Read on for a moment: closing would reset a peer that still sends, before it reads."""
        self._reads = True
        self._writer.write_eof()
        async with asyncio.timeout(LINGERING):
            while await self._reader.read(PIECE):
                pass


def has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or length(request) > 0


def length(request: Request) -> int:
    return int(request.header("Content-Length") or 0)


Handler = Callable[[Request], Awaitable[Response]]
# By method and path; GET includes HEAD. A path that ends in a slash takes one name after it.
Routes = Mapping[tuple[str, str], Handler]
Guard = Callable[[Request], Response | None]

BACKLOG: Final = 128  # connections that the system queues
DATE: Final = "%a, %d %b %Y %H:%M:%S GMT"

log = structlog.get_logger("invalidator")


class Server:
    """Answers by routes. `guard` may refuse a request before its body is read."""

    def __init__(
        self,
        routes: Routes,
        *,
        guard: Guard = lambda _: None,
        headers: Mapping[str, str] | None = None,  # of every response
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._routes = routes
        self._guard = guard
        self._headers = headers or {}
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen and return the first address. Raises OSError, or UnicodeError for a wrong name."""
        self._listening = await asyncio.start_server(
            self._accept, host, port, limit=PIECE, backlog=BACKLOG
        )
        address = self._listening.sockets[0].getsockname()
        return address[0], address[1]

    async def stop(self, within: float) -> None:
        """Close all connections; requests that are worked on have so many seconds."""
        if self._listening:
            self._listening.close()
        tasks = [*self._connections.values()]
        for connection in self._connections:
            connection.finish()
        if tasks:
            await asyncio.wait(tasks, timeout=within)
        await end(*tasks)

    def refusal(self, request: Request) -> Response | None:
        if refused := self._guard(request):
            return refused
        if self._handler(request):
            return None
        paths = (request.path, _parent(request.path))
        methods = {method for method, path in self._routes if path in paths}
        if not methods:
            return said(404, "there is nothing at this path")
        allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        return said(405, f"expected {allowed}", headers={"Allow": allowed})

    async def answer(self, request: Request) -> Response:
        handler = self._handler(request)
        assert handler
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - the others continue
            # the error's text may quote an event
            call = f"{request.method} {request.path}"
            log.error("call-failed", call=call, error=type(error).__name__, at=place_of(error))
            return said(500, "this call failed; see the daemon's log")

    def headers(self, response: Response) -> dict[str, str]:
        return {"Date": time.strftime(DATE, time.gmtime()), **self._headers, **response.headers}

    def _handler(self, request: Request) -> Handler | None:
        method = "GET" if request.method == "HEAD" else request.method
        return self._routes.get((method, request.path)) or self._routes.get(
            (method, _parent(request.path))
        )

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self.limits.connections and not self._make_room():
            writer.transport.abort()
            return
        connection = Connection(self, reader, writer)
        task = asyncio.create_task(connection.run(), name="http-connection")
        self._connections[connection] = task
        task.add_done_callback(lambda done: self._ended(connection, done))

    def _make_room(self) -> bool:
        """Close the connection that has kept us waiting longest, if any, so that probes get in."""
        longest = min(self._connections, key=lambda each: each.since)
        if longest.since == math.inf:
            return False
        longest.abort()
        return True

    def _ended(self, connection: Connection, task: "asyncio.Task[None]") -> None:
        del self._connections[connection]
        if not task.cancelled() and (error := task.exception()):
            log.error("connection-failed", error=type(error).__name__, at=place_of(error))


def _parent(path: str) -> str:
    """Return the path that takes the last part as a name: `/receipts/` for `/receipts/one`."""
    parent, _, name = path.rpartition("/")
    return f"{parent}/" if parent and name else ""
