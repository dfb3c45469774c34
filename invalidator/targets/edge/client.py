"""An HTTP client that keeps its connections: a response arrives in time, or Unavailable is raised.

Every request here may be repeated. That is why a kept connection that breaks is no failure: the
server has probably closed it, and the request is sent again on another one.
"""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import h11
from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.runtime.urls import HttpUrl

CONNECTIONS: Final = 8  # to one server
PIECE: Final = 64 << 10  # bytes that are read in one call
LARGEST: Final = 1 << 20  # bytes of a response's body
BROKEN: Final = (OSError, h11.RemoteProtocolError)


class Request(Struct, frozen=True):
    method: str
    target: str  # the path and query
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Response(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Client:
    """Sends requests to one server."""

    def __init__(self, url: HttpUrl, name: str, within: float) -> None:
        """`name` is for people; `within` is how many seconds an answer may take."""
        self.name = name
        self._url = url
        self._within = within
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[_Link] = []
        self._trusted = ssl.create_default_context() if url.tls else None

    async def send(self, request: Request) -> Response:
        """Return the response, whatever its status. Raises Unavailable."""
        async with self._room:
            with self._reaching():
                async with asyncio.timeout(self._within):
                    return await self._send(request)

    async def probe(self) -> None:
        """Raise Unavailable unless the server accepts a connection."""
        with self._reaching():
            async with asyncio.timeout(self._within):
                link = await self._connect()
        link.close()

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop().close()

    async def _send(self, request: Request) -> Response:
        headers = {"Host": self._url.authority, "User-Agent": "invalidator", **request.headers}
        whole = Request(request.method, request.target, headers, request.body)
        while self._idle:
            with suppress(*BROKEN):
                return await self._exchange(self._idle.pop(), whole)
        return await self._exchange(await self._connect(), whole)

    async def _exchange(self, link: "_Link", request: Request) -> Response:
        try:
            response = await link.exchange(request)
        except BaseException:
            link.close()
            raise
        if link.renew():
            self._idle.append(link)
        return response

    async def _connect(self) -> "_Link":
        url = self._url
        return _Link(*await asyncio.open_connection(url.host, url.port, ssl=self._trusted))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            said = f"no answer within {self._within:g}s"
            raise Unavailable(self.name, said, "timeout") from error
        except ssl.SSLCertVerificationError as error:
            said = f"its certificate is not trusted: {error.verify_message}"
            raise Unavailable(self.name, said, "tls") from error
        except h11.RemoteProtocolError as error:
            raise Unavailable(self.name, f"no valid HTTP response: {error}", "protocol") from error
        except OSError as error:
            said = error.strerror or str(error) or type(error).__name__
            raise Unavailable(self.name, said, "connection") from error


class _Link:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def exchange(self, request: Request) -> Response:
        headers = {**request.headers, "Content-Length": str(len(request.body))}
        events = (
            h11.Request(method=request.method, target=request.target, headers=[*headers.items()]),
            h11.Data(data=request.body),
            h11.EndOfMessage(),
        )
        self._writer.write(b"".join(filter(None, map(self._http.send, events))))
        await self._writer.drain()
        head = await self._event()
        while isinstance(head, h11.InformationalResponse):
            head = await self._event()
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > LARGEST:
                raise h11.RemoteProtocolError("the response is too large")
        names = {name.decode("latin-1"): text.decode("latin-1") for name, text in head.headers}
        return Response(head.status_code, names, bytes(body))

    def renew(self) -> bool:
        """Return whether another request may follow; otherwise close the connection."""
        with suppress(h11.LocalProtocolError):
            self._http.start_next_cycle()
            return True
        self.close()
        return False

    def close(self) -> None:
        self._writer.transport.abort()

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(PIECE))
        return event
