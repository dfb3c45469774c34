"""Requests for tokens: what is sent, and that each failure is explained in words."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from invalidator.sources.kafka.oauth import post_form
from tests.backends import until
from tests.backends.certificates import Certificates, make_certificates

Start = Callable[..., Awaitable[int]]
FORM = {"grant_type": "client_credentials", "scope": "a b&c"}
TLS_HELLO = b"\x16\x03"
BODY = b"grant_type=client_credentials&scope=a+b%26c"


class Heard:
    """What the server received."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.ended = asyncio.Event()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def start(heard: Heard) -> AsyncIterator[Start]:
    """Start a server that sends these bytes, and closes the connection unless it `stays`."""
    async with AsyncExitStack() as stack:

        async def start(
            answer: bytes,
            host: str = "127.0.0.1",
            context: ssl.SSLContext | None = None,
            *,
            stays: bool = False,
        ) -> int:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                request = b""
                while BODY not in request and not request.startswith(TLS_HELLO):
                    request += await reader.readexactly(1)
                heard.requests.append(request)
                writer.write(answer)
                with suppress(ConnectionError):
                    await reader.read() if stays else await writer.drain()
                writer.close()
                heard.ended.set()

            server = await asyncio.start_server(serve, host, 0, ssl=context)
            stack.callback(server.close)
            return int(server.sockets[0].getsockname()[1])

        yield start


async def post(url: str, trusted: ssl.SSLContext | None = None, within: float = 60) -> bytes:
    trusted = trusted or ssl.create_default_context()
    status, body = await post_form(url, FORM, {"Accept": "a/b"}, trusted, within=within)
    return b"%d " % status + body


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", b"200 abc"),
        (b"HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"200 abc"),
        (b"HTTP/1.0 500 Oops\r\n\r\nabc", b"500 abc"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", b"302 "),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (64 << 10), b"200 " + b"x" * (64 << 10)),
    ],
)
async def test_a_response_is_a_status_and_a_body(
    start: Start, heard: Heard, answer: bytes, found: bytes
) -> None:
    assert await post(f"http://127.0.0.1:{await start(answer)}/") == found
    assert len(heard.requests) == 1, "no redirect is followed"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", b"/"),
        ("/oauth2/token?tenant=a%20b", b"/oauth2/token?tenant=a%20b"),
        ("/?x=é", b"/?x=%C3%A9"),
    ],
)
async def test_the_form_is_posted_to_the_url(
    start: Start, heard: Heard, path: str, target: bytes
) -> None:
    port = await start(b"HTTP/1.1 204 Nothing\r\n\r\n", "::1")
    assert await post(f"http://[::1]:{port}{path}") == b"204 "
    head, _, body = heard.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert first == b"POST " + target + b" HTTP/1.1"
    assert body == BODY
    assert {
        b"Host: [::1]:%d" % port,
        b"Accept: a/b",
        b"User-Agent: invalidator",
        b"Content-Type: application/x-www-form-urlencoded",
    } <= {*lines}


async def test_a_proxy_is_used(start: Start, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    port = await start(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    assert await post("http://login.example.com/token") == b"200 ok"
    assert heard.requests[0].startswith(b"POST http://login.example.com/token HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "no valid HTTP response: Remote end closed connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", "no valid HTTP"),
        (b"220 smtp.example.com ESMTP\r\n\r\n", "no valid HTTP response: 220 smtp"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101, "no valid HTTP response: .*100 headers"),
    ],
)
async def test_a_broken_response_is_an_error(start: Start, answer: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}"):
        await post(f"http://127.0.0.1:{await start(answer)}/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/", "Connection refused"),
        ("http://nowhere.invalid/", r"\w+"),
        (f"http://{'x' * 70}.com/", "label"),
    ],
)
async def test_a_server_that_cannot_be_reached_is_an_error(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        await post(url)


async def test_a_server_that_does_not_answer_is_left_in_time(start: Start, heard: Heard) -> None:
    port = await start(b"HTTP/1.1 200 OK\r\n", stays=True)
    with pytest.raises(ValueError, match=r"^no answer in time$"):
        await post(f"http://127.0.0.1:{port}/", within=0.2)
    await until(heard.ended.is_set)


async def test_a_request_that_is_cancelled_ends_soon(start: Start, heard: Heard) -> None:
    port = await start(b"HTTP/1.1 200 OK\r\n", stays=True)
    asking = asyncio.create_task(post(f"http://127.0.0.1:{port}/", within=1))
    await until(lambda: heard.requests)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(heard.ended.is_set)


async def test_tls_is_checked(start: Start, certificates: Certificates) -> None:
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificates.server.both)
    trusted = ssl.create_default_context(cafile=certificates.authority)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    port = await start(answer, "127.0.0.1", theirs)
    assert await post(f"https://127.0.0.1:{port}/", trusted) == b"200 ok"
    with pytest.raises(ValueError, match="its certificate is not trusted: Hostname mismatch"):
        await post(f"https://localhost:{port}/", trusted)
    with pytest.raises(ValueError, match=r"its certificate is not trusted: .*local issuer"):
        await post(f"https://127.0.0.1:{port}/")
    plain = await start(answer)
    with pytest.raises(ValueError, match=r"^TLS: WRONG_VERSION_NUMBER"):
        await post(f"https://127.0.0.1:{plain}/", trusted)
