"""One connection: requests in their order, each answered before the next is read."""

import asyncio
import math
import time
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final, Protocol

import h11
from msgspec.structs import replace

from invalidator.admin.http.limits import CHUNK, CRUMBS, HEAD, PIECE, PORTION, SMALL, Limits
from invalidator.admin.http.message import Request, Response, packed, request_of, said

LONGEST_REASON: Final = 200  # characters that say what was wrong with a request
VERSIONS: Final = (b"1.0", b"1.1")
# Of a peer whose request was not read to its end.
UNREAD: Final = (h11.IDLE, h11.SEND_BODY, h11.ERROR)
CONTINUE: Final = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")


class Site(Protocol):
    """What the connections of a server share."""

    limits: Limits
    bodies: asyncio.Semaphore  # taken while a large one is read: they need memory

    def refusal(self, request: Request) -> Response | None:
        """Why it is not answered, as far as that can be told without its body."""

    def answer(self, request: Request) -> Awaitable[Response]:
        """Whatever happens, there is one."""

    def headers(self, response: Response) -> dict[str, str]:
        """With which it is sent."""

    def sending(self, connection: "Connection") -> None:
        """It has begun to send an answer, which lies in memory until the peer has taken it."""


class Connection:
    """Whoever is slow, leaves or talks nonsense ends their own connection and nothing else."""

    def __init__(
        self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._site = site
        self._limits = site.limits
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, HEAD)
        self._method = ""
        self.unsent = 0  # bytes of an answer that the peer has not taken
        self._last = False  # no request after this one
        self._reads = True  # or it works and answers
        self.since = time.monotonic()  # when we began to wait for the peer; while we work, never
        writer.transport.set_write_buffer_limits(0)  # so a `drain` ends when nothing is left

    async def run(self) -> None:
        """Until one side has had enough."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
                await asyncio.sleep(0)  # however many came at once, others have their turn
        except OSError:  # it hung up, or took too long
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """At once; what the peer has not taken is dropped."""
        self.since, self.unsent = math.inf, 0
        self._writer.transport.abort()

    def finish(self) -> None:
        """Answer what is worked on, and nothing after it."""
        self._last = True
        if self._reads:
            self.abort()

    async def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        self._reads, self.since = True, time.monotonic()
        if not await self._begun():
            return False
        await self._send(self._whole(await self._answer()))
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
        """Whether another request comes in time, or came together with the last."""
        if not self._http.trailing_data[0]:
            async with asyncio.timeout(self._limits.idle):
                self._http.receive_data(await self._reader.read(PIECE))
        return bool(self._http.trailing_data[0])

    async def _arrived(self) -> Request | Response:
        """The whole request, or why it is refused."""
        self._method = ""
        try:
            async with asyncio.timeout(self._limits.arrival):
                return await self._read()
        except TimeoutError:
            return said(408, f"not all of it came within {self._limits.arrival:g} s")
        except h11.RemoteProtocolError as error:
            return said(error.error_status_hint, str(error)[:LONGEST_REASON])

    async def _read(self) -> Request | Response:
        head = await self._event()
        request = request_of(head)
        self._method = request.method
        if not has_body(request):
            await self._event()  # its end
        if refusal := ambiguous(head, request) or self._site.refusal(request):
            return refusal
        if not has_body(request):
            return request
        if length(request) > self._limits.body:
            return self._too_large()
        if 0 < length(request) <= SMALL:
            return await self._read_body(request)
        async with self._site.bodies:
            return await self._read_body(request)

    async def _read_body(self, request: Request) -> Request | Response:
        if self._http.they_are_waiting_for_100_continue:
            self._writer.write(self._http.send(CONTINUE))
        body, chunks = bytearray(), 0
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            chunks += event.chunk_start
            if len(body) > self._limits.body:
                return self._too_large()
            if chunks > CRUMBS + len(body) // CHUNK:
                return said(400, f"expected chunks of {CHUNK} bytes or more")
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

    async def _send(self, message: bytes) -> None:
        """Piece by piece: the system's allocator would keep the room of what is buffered whole."""
        self.since, self.unsent = time.monotonic(), len(message)
        self._site.sending(self)
        try:
            async with asyncio.timeout(self._limits.reading):
                for at in range(0, len(message), PORTION):
                    self._writer.write(message[at : at + PORTION])
                    await self._writer.drain()
                    self.unsent -= PORTION
        finally:
            self.unsent = 0
            del message  # the failure of a peer that left would hold it until garbage is collected

    async def _linger(self) -> None:
        """Whoever still sends would lose our answer if the connection just ended."""
        self._reads = True
        self._writer.write_eof()
        async with asyncio.timeout(self._limits.lingering):
            while await self._reader.read(PIECE):
                pass


def has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or length(request) > 0


def length(request: Request) -> int:
    return int(request.header("Content-Length") or 0)


def ambiguous(head: h11.Request, request: Request) -> Response | None:
    """What somebody between us and the sender may have read in another way."""
    if head.http_version not in VERSIONS:
        return said(505, "expected HTTP/1.1 or HTTP/1.0")
    if "transfer-encoding" not in request.headers:
        return None
    if "content-length" in request.headers:
        return said(400, "Content-Length and Transfer-Encoding: expected one of them")
    if head.http_version == b"1.0":
        return said(400, "Transfer-Encoding: HTTP/1.0 knows none")
    return None
