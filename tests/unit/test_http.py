"""The HTTP server: what it answers to whom, and what nobody can do to it."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from invalidator.runtime.http import Limits, Request, Response, Server, as_json, said
from tests.backends import until
from tests.backends.waiting import turn

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGEST = 1000
PATIENT = Limits(body=LARGEST, too_large="larger than 1000", connections=4)
BIG = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
Answer = tuple[int, dict[str, str], bytes]


class Peer:
    """The other end: bytes, as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)

    async def answer(self, *, bodiless: bool = False) -> Answer:
        async with asyncio.timeout(60):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.splitlines()
            headers = {name.lower(): value for name, value in (x.split(": ") for x in lines if x)}
            length = 0 if bodiless else int(headers.get("content-length", 0))
            return int(first.split()[1]), headers, await self.reader.readexactly(length)

    async def ask(self, *pieces: bytes) -> Answer:
        self.send(*pieces)
        return await self.answer()

    async def rest(self) -> bytes:
        """What comes until the server ends it; a reset is an end, too."""
        try:
            async with asyncio.timeout(60):
                return await self.reader.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        self.writer.transport.abort()


class Site:
    """A server of the tests, and those that speak with it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.release = asyncio.Event()
        self.working = 0
        self.address = ("", 0)

    async def start(self, limits: Limits = PATIENT, host: str = "127.0.0.1") -> Server:
        routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/"): self.echo,
            ("POST", "/"): self.echo,
            ("POST", "/wait"): self.wait,
            ("GET", "/big"): self.big,
            ("POST", "/fail"): self.fail,
        }
        server = Server(routes, guard=refused, headers={"X-Frame": "none"}, limits=limits)
        self.address = await server.start(host, 0)
        self.stack.push_async_callback(server.stop, 0)
        return server

    async def peer(self) -> Peer:
        peer = Peer(*await asyncio.open_connection(*self.address))
        self.stack.callback(peer.reset)
        return peer

    async def ask(self, *pieces: bytes) -> Answer:
        return await (await self.peer()).ask(*pieces)

    async def echo(self, request: Request) -> Response:
        body = request.body.decode("latin-1")
        return as_json({"query": dict(request.query), "x": request.header("x-THING"), "body": body})

    async def wait(self, _: Request) -> Response:
        self.working += 1
        try:
            await self.release.wait()
        finally:
            self.working -= 1
        return as_json("waited")

    async def big(self, _: Request) -> Response:
        return Response(200, bytes(16 << 20))

    async def fail(self, request: Request) -> Response:
        raise KeyError(f"a secret: {request.body!r}")


def refused(request: Request) -> Response | None:
    return said(403, "not you") if request.header("X-Strange") else None


def post(path: str = "/", body: bytes = b"", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def error(answer: Answer) -> str:
    return str(json.loads(answer[2])["error"])


@pytest.fixture
async def site(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Site]:
    """Nothing that a peer does may be complained of."""
    complaints: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with AsyncExitStack() as stack:
        yield Site(stack)
    gc.collect()
    await turn()
    assert complaints == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


# --- requests and answers ---


async def test_a_request_arrives_as_it_was_sent(site: Site) -> None:
    await site.start()
    peer = await site.peer()
    status, headers, body = await peer.ask(
        b"POST http://other/?a=1&b=%C3%A9+x&a=2&empty= HTTP/1.1\r\nhost: a\r\nx-Thing: 1\r\n"
        b"X-THING: \xc3\xa9\r\ncontent-length: 3\r\n\r\nabc"
    )
    assert (status, headers["x-frame"], "date" in headers) == (200, "none", True)
    query = {"a": "1", "b": "é x", "empty": ""}
    assert json.loads(body) == {"query": query, "x": "1, é", "body": "abc"}
    assert (await peer.ask(b"GET /%62ig HTTP/1.1\r\nHost: a\r\n\r\n"))[0] == 200


async def test_head_is_get_without_a_body(site: Site) -> None:
    await site.start()
    peer = await site.peer()
    peer.send(b"HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n")
    status, headers, _ = await peer.answer(bodiless=True)
    assert (status, headers["content-length"]) == (200, str(16 << 20))
    assert (await peer.ask(GET))[0] == 200, "nothing of the body came after it"


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/nowhere", 404, None),
        ("GET", "*", 404, None),
        ("PUT", "/", 405, "GET, HEAD, POST"),
        ("HEAD", "/wait", 405, "POST"),
        ("get", "/big", 405, "GET, HEAD"),
        ("CONNECT", "/big", 405, "GET, HEAD"),
    ],
)
async def test_what_does_not_exist_is_reported(
    site: Site, method: str, path: str, status: int, allowed: str | None
) -> None:
    await site.start()
    peer = await site.peer()
    peer.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    found, headers, _ = await peer.answer(bodiless=method == "HEAD")
    assert (found, headers.get("allow")) == (status, allowed)
    assert (await peer.ask(GET))[0] == 200, "it goes on"


async def test_pipelined_requests_are_answered_in_their_order(site: Site) -> None:
    await site.start()
    peer = await site.peer()
    peer.send(post("/wait"), *(post("/", b"%d" % number) for number in range(500)))
    await until(lambda: site.working)
    site.release.set()
    assert (await peer.answer())[2] == b'"waited"'
    for number in range(500):
        assert json.loads((await peer.answer())[2])["body"] == str(number)


async def test_a_body_may_come_in_chunks_byte_by_byte(site: Site) -> None:
    await site.start()
    peer = await site.peer()
    raw = (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;why=not\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
    )
    for at in range(len(raw)):
        peer.send(raw[at : at + 1])
        await turn()
    assert json.loads((await peer.answer())[2])["body"] == "abcde"
    assert (await peer.ask(GET))[0] == 200


async def test_who_waits_to_be_told_to_go_on_is_told(site: Site) -> None:
    await site.start()
    peer = await site.peer()
    whole = post("/", b"abc", "Expect: 100-continue")
    assert (await peer.ask(whole[:-3]))[0] == 100
    assert json.loads((await peer.ask(b"abc"))[2])["body"] == "abc"
    refusal = await peer.ask(post("/", b"abc", "Expect: 100-continue", "X-Strange: 1")[:-3])
    assert (refusal[0], refusal[1]["connection"]) == (403, "close"), "without the body"


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/1.0\r\n\r\n", GET[:-2] + b"Connection: close\r\n\r\n"]
)
async def test_who_wants_one_answer_gets_one(site: Site, raw: bytes) -> None:
    await site.start()
    peer = await site.peer()
    status, headers, _ = await peer.ask(raw)
    assert (status, headers["connection"]) == (200, "close")
    assert await peer.rest() == b""


async def test_who_says_no_more_still_hears(site: Site) -> None:
    await site.start()
    peer = await site.peer()
    peer.send(GET, GET)
    peer.writer.write_eof()
    assert [(await peer.answer())[0] for _ in range(2)] == [200, 200]
    assert await peer.rest() == b""


# --- nonsense ---


@pytest.mark.parametrize(
    ("raw", "status", "why"),
    [
        (b"hello\r\n\r\n", 400, "illegal request line"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "illegal request line"),
        (b"GET /\r\n\r\n", 400, "illegal request line"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "multiple Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 400, "illegal header line"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400, "illegal header line"),
        (b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", 400, "illegal header line"),
        (post()[:-2] + b"Content-Length: 5\r\n\r\n", 400, "conflicting Content-Length"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "chunked"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "Content-Length"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            400,
            "illegal chunk header",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000, 431, "too long"),
        (b"GET /" + b"x" * 40_000, 431, "too long"),
    ],
)
async def test_nonsense_is_told_what_it_is_and_ended(
    site: Site, raw: bytes, status: int, why: str
) -> None:
    await site.start(Limits())
    peer = await site.peer()
    answer = await peer.ask(raw)
    assert (answer[0], answer[1]["x-frame"]) == (status, "none")
    assert why in error(answer)
    assert answer[1]["connection"] == "close"
    assert await peer.rest() == b""
    assert (await site.ask(GET))[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        post("/", b"x" * (LARGEST + 1))[:-900],
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n" + b"x" * 2000,
    ],
)
async def test_what_is_too_large_is_refused_before_it_is_there(site: Site, raw: bytes) -> None:
    await site.start()
    peer = await site.peer()
    answer = await peer.ask(raw)
    assert (answer[0], error(answer)) == (413, "larger than 1000")
    assert answer[1]["connection"] == "close"
    peer.send(bytes(500_000))  # who goes on sending can still read it
    assert await peer.rest() == b""
    assert (await site.ask(post("/", b"x" * LARGEST)))[0] == 200


async def test_a_handler_that_fails_says_so_and_where_but_not_what(
    site: Site, logs: list[Any]
) -> None:
    await site.start()
    peer = await site.peer()
    answer = await peer.ask(post("/fail", b"abc"))
    assert (answer[0], answer[1]["x-frame"]) == (500, "none")
    (line,) = logs
    assert (line["event"], line["call"], line["error"]) == ("call-failed", "POST /fail", "KeyError")
    assert "/invalidator/runtime/http/server.py:" in line["at"], "the last of our own lines"
    assert "secret" not in f"{answer}{logs}"
    assert (await peer.ask(GET))[0] == 200


# --- the slow, the many and those who leave ---


@pytest.mark.parametrize("raw", [GET[:10], post("/", b"abc")[:-1]])
async def test_who_is_slow_is_let_go(site: Site, raw: bytes) -> None:
    await site.start(Limits(arrival=0.2))
    peer = await site.peer()
    answer = await peer.ask(raw)
    assert (answer[0], error(answer)) == (408, "the request took more than 0.2 s to arrive")
    assert await peer.rest() == b""


async def test_who_says_nothing_is_let_go_without_a_word(site: Site) -> None:
    await site.start(Limits(idle=0.2))
    assert await (await site.peer()).rest() == b""


async def test_who_does_not_read_is_let_go(site: Site) -> None:
    server = await site.start(Limits(reading=0.2))
    peer = await site.peer()
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    peer.send(BIG * 3)
    await until(lambda: server._connections)
    await until(lambda: not server._connections)


async def test_among_many_the_one_who_waited_longest_goes(site: Site) -> None:
    await site.start()
    worked, *others = [await site.peer() for _ in range(PATIENT.connections)]
    worked.send(post("/wait"))
    await until(lambda: site.working)
    for peer in others:
        assert (await peer.ask(GET))[0] == 200
    assert (await others[0].ask(GET))[0] == 200
    newest = await site.peer()
    assert (await newest.ask(GET))[0] == 200
    assert await others[1].rest() == b""
    assert (await others[0].ask(GET))[0] == 200
    site.release.set()
    assert (await worked.answer())[0] == 200


async def test_a_probe_comes_through_a_crowd(site: Site) -> None:
    server = await site.start()
    for number in range(300):
        peer = await site.peer()
        peer.send((b"", GET[:9], GET, post("/", b"x")[:-1])[number % 4])
        if number % 50 == 0:
            assert (await site.ask(GET))[0] == 200
    assert (await site.ask(GET))[0] == 200
    await until(lambda: len(server._connections) <= PATIENT.connections)


async def test_where_all_are_worked_for_nobody_else_is_let_in(site: Site) -> None:
    await site.start()
    peers = [await site.peer() for _ in range(PATIENT.connections)]
    for peer in peers:
        peer.send(post("/wait"))
    await until(lambda: site.working == len(peers))
    assert await (await site.peer()).rest() == b""
    site.release.set()
    assert {(await peer.answer())[0] for peer in peers} == {200}
    assert (await site.ask(GET))[0] == 200


@pytest.mark.parametrize("how", ["reset", "end"])
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GET[:9], id="head"),
        pytest.param(post("/", b"abc")[:-1], id="body"),
        pytest.param(post("/wait"), id="work"),
        pytest.param(GET * 100, id="many"),
        pytest.param(BIG, id="big"),
        pytest.param(b"nonsense\r\n\r\n", id="nonsense"),
        pytest.param(post("/", bytes(9999)), id="large"),
    ],
)
async def test_who_hangs_up_leaves_no_trace(
    site: Site, logs: list[Any], raw: bytes, how: str
) -> None:
    server = await site.start()
    peer = await site.peer()
    peer.send(raw)
    await until(lambda: site.working if raw == post("/wait") else server._connections)
    peer.reset() if how == "reset" else peer.writer.close()
    site.release.set()
    await until(lambda: not server._connections)
    assert logs == []
    assert (await site.ask(GET))[0] == 200


# --- the end ---


async def test_at_the_end_who_waits_goes_at_once_and_who_is_worked_for_is_answered(
    site: Site,
) -> None:
    server = await site.start()
    idle, half, worked = [await site.peer() for _ in range(3)]
    await idle.ask(GET)
    half.send(GET[:9])
    worked.send(post("/wait"), GET)
    await until(lambda: site.working)
    stopping = asyncio.create_task(server.stop(20))
    for peer in (idle, half):
        assert await peer.rest() == b""
    with pytest.raises(OSError, match="Connect call failed"):
        await site.peer()
    site.release.set()
    status, headers, _ = await worked.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await worked.rest() == b""
    async with asyncio.timeout(60):
        await stopping


async def test_the_end_waits_for_nobody_forever(site: Site) -> None:
    server = await site.start()
    worked, deaf = await site.peer(), await site.peer()
    worked.send(post("/wait"))
    deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
    deaf.send(BIG)
    await until(lambda: site.working)
    async with asyncio.timeout(60):
        await server.stop(0.1)
    assert (site.working, server._connections) == (0, {})
    assert await worked.rest() == b""


async def test_one_that_was_never_started_can_be_stopped() -> None:
    await Server({}).stop(1)


async def test_it_listens_on_every_address_of_a_name(site: Site) -> None:
    await site.start(host="::1")
    assert site.address[0] == "::1"
    assert (await site.ask(GET))[0] == 200
