"""The client that asks for tokens: what it sends, and that each failure is told in words."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from invalidator.http import NoAnswer, post_form
from tests.backends import until
from tests.backends.certificates import Certificates, make_certificates

Start = Callable[..., Awaitable[int]]
FORM = {"grant_type": "client_credentials", "scope": "a b&c"}


class Heard:
    """What came of one question."""

    def __init__(self) -> None:
        self.raw = b""
        self.ended = asyncio.Event()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def start(heard: Heard) -> AsyncIterator[Start]:
    """`start(answer, host, context)`: a server that says these bytes; then, or not, hangs up."""
    async with AsyncExitStack() as stack:

        async def start(
            answer: bytes,
            host: str = "127.0.0.1",
            context: ssl.SSLContext | None = None,
            *,
            stays: bool = False,
        ) -> int:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                heard.raw = await reader.read(1 << 16)
                writer.write(answer)
                with suppress(ConnectionError):  # it leaves with what it has not read
                    await reader.read() if stays else None
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
        (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"302 "),
        (b"HTTP/1.1 204 Nothing\r\n\r\n", b"204 "),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (64 << 10), b"200 " + b"x" * (64 << 10)),
    ],
)
async def test_an_answer_is_a_status_and_a_body(start: Start, answer: bytes, found: bytes) -> None:
    assert await post(f"http://127.0.0.1:{await start(answer)}/") == found


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", b"/"),
        ("/oauth2/token?tenant=a%20b", b"/oauth2/token?tenant=a%20b"),
        ("?x=é", b"/?x=%C3%A9"),
    ],
)
async def test_the_form_is_posted_to_the_url(
    start: Start, heard: Heard, path: str, target: bytes
) -> None:
    port = await start(b"HTTP/1.1 204 Nothing\r\n\r\n", "::1")
    assert await post(f"http://[::1]:{port}{path}") == b"204 "
    head, _, body = heard.raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert first == b"POST " + target + b" HTTP/1.1"
    assert body == b"grant_type=client_credentials&scope=a+b%26c"
    wanted = {
        b"Host: [::1]:%d" % port,
        b"Accept: a/b",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    }
    assert wanted <= {*lines}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "it hung up too early"),
        (b"HTTP/1.1 200 OK\r\nContent-", "it hung up too early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "it hung up too early"),
        (b"220 smtp.example.com ESMTP\r\n\r\n", "it speaks no HTTP: illegal status line"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 65537, "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, "it speaks no HTTP: .*too long"),
    ],
)
async def test_what_is_no_answer_is_said(start: Start, answer: bytes, why: str) -> None:
    with pytest.raises(NoAnswer, match=f"^.{{0,20}}{why}"):
        await post(f"http://127.0.0.1:{await start(answer)}/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/", "Connection refused"),
        ("http://nowhere.invalid/", r"\w+"),
        ("http://127.0.0.1:99999/", "Port out of range"),
        ("http://[::1/", "Invalid IPv6 URL"),
        (f"http://{'x' * 70}.com/", "label"),
    ],
)
async def test_who_cannot_be_reached_is_said(url: str, why: str) -> None:
    with pytest.raises(NoAnswer, match=why):
        await post(url)


async def test_who_does_not_answer_is_left_in_time(start: Start, heard: Heard) -> None:
    port = await start(b"HTTP/1.1 200 OK\r\n", stays=True)
    with pytest.raises(NoAnswer, match=r"^no answer in time$"):
        await post(f"http://127.0.0.1:{port}/", within=0.2)
    await until(heard.ended.is_set)


async def test_a_question_can_be_called_off(start: Start, heard: Heard) -> None:
    port = await start(b"HTTP/1.1 200 OK\r\n", stays=True)
    asking = asyncio.create_task(post(f"http://127.0.0.1:{port}/"))
    await until(lambda: heard.raw)
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
    with pytest.raises(NoAnswer, match="its certificate is not trusted: Hostname mismatch"):
        await post(f"https://localhost:{port}/", trusted)
    with pytest.raises(NoAnswer, match=r"its certificate is not trusted: .*local issuer"):
        await post(f"https://127.0.0.1:{port}/")
    plain = await start(answer)
    with pytest.raises(NoAnswer, match=r"^(TLS: |it hung up)"):
        await post(f"https://127.0.0.1:{plain}/", trusted)
