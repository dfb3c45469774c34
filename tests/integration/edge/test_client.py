"""The HTTP client: connections are kept, and whatever goes wrong is Unavailable."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from invalidator.errors import Unavailable
from invalidator.runtime.urls import HttpUrl, parse_http_url
from invalidator.targets.edge.client import Client, Request, Response
from tests.backends.certificates import make_certificates
from tests.backends.server import free_port

ASKED = Request("POST", "/a", {"X-B": "c"}, b"body")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """Answers each request with these bytes; counts connections."""

    def __init__(self, answer: bytes, *, closes: bool = False) -> None:
        self.answer = answer
        self.closes = closes
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head + await reader.readexactly(4))
                writer.write(self.answer)
                await writer.drain()
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def talking(
    peer: Peer, *, within: float = 20.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    port = free_port()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", port, ssl=tls)
    client = Client(HttpUrl(tls is not None, "127.0.0.1", port, ""), "the edge", within)
    try:
        yield client
    finally:
        client.close()
        server.close()


async def test_a_connection_is_kept_and_the_request_is_as_asked() -> None:
    peer = Peer(OK)
    async with talking(peer) as client:
        for _ in range(3):
            assert await client.send(ASKED) == Response(200, {"content-length": "2"}, b"ok")
    assert peer.connections == 1
    assert peer.requests[0].startswith(b"POST /a HTTP/1.1\r\n")
    assert b"X-B: c\r\n" in peer.requests[0]


async def test_a_connection_that_the_server_closed_is_no_failure() -> None:
    peer = Peer(OK, closes=True)  # without saying so before
    async with talking(peer) as client:
        for _ in range(3):
            assert (await client.send(ASKED)).status == 200
    assert peer.connections == 3


async def test_a_body_in_chunks_and_one_that_ends_with_the_connection_are_read() -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok"
    for peer in (Peer(chunks), Peer(hint, closes=True)):
        async with talking(peer) as client:
            assert (await client.send(ASKED)).body == b"ok"


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "protocol", "no valid HTTP response"),
        (b"", "protocol", "no valid HTTP response"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol", "no valid HTTP response"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 2_000_000,
            "protocol",
            "large",
        ),
    ],
)
async def test_a_broken_response_is_unavailable(answer: bytes, code: str, said: str) -> None:
    async with talking(Peer(answer, closes=True)) as client:
        with pytest.raises(Unavailable, match=said) as failed:
            await client.send(ASKED)
    assert failed.value.code == code


async def test_a_silent_server_is_unavailable_in_time() -> None:
    async with talking(Peer(b""), within=0.2) as client:
        with pytest.raises(Unavailable, match="the edge: no answer within"):
            await client.send(ASKED)


async def test_a_certificate_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made = make_certificates(tmp_path)
    tls.load_cert_chain(made.server.certificate, made.server.key)
    async with talking(Peer(OK), tls=tls) as client:
        for attempt in (client.probe, lambda: client.send(ASKED)):
            with pytest.raises(Unavailable, match="its certificate is not trusted"):
                await attempt()


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("http://a:80/", "a", ""),
        ("https://a:443/b/", "a", "/b"),
        ("http://[::1]:6081", "[::1]:6081", ""),
        ("https://a/b?c=d", "a", "/b?c=d"),
    ],
)
def test_a_url_gives_the_host_header_and_the_path(url: str, authority: str, path: str) -> None:
    found = parse_http_url(url)
    assert (found.authority, found.path) == (authority, path)
