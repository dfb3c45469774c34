"""Listen, and keep track of the connections."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from invalidator.admin.http.connection import PIECE, Connection, Limits
from invalidator.admin.http.message import Request, Response, said
from invalidator.errors import place_of
from invalidator.runtime.tasks import end

Handler = Callable[[Request], Awaitable[Response]]
Routes = Mapping[tuple[str, str], Handler]  # by method and path; GET includes HEAD
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
        methods = {method for method, path in self._routes if path == request.path}
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
        return self._routes.get((method, request.path))

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
