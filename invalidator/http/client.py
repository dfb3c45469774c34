"""A client for one question: a form, and its answer."""

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import h11

from invalidator.errors import InvalidatorError
from invalidator.http.connection import PIECE
from invalidator.http.message import packed

if TYPE_CHECKING:
    import ssl

LARGEST: Final = 64 << 10  # bytes of an answer
OTHER_FAMILY_AFTER: Final = 0.25  # seconds until IPv4 is tried beside an IPv6 that is silent
PORTS: Final = {"http": 80, "https": 443}
PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))


class NoAnswer(InvalidatorError):  # noqa: N818 - the domain's word
    """There is none, for a reason that a person can read."""


async def post_form(
    url: str,
    form: Mapping[str, str],
    headers: Mapping[str, str],
    trusted: "ssl.SSLContext",
    *,
    within: float,
) -> tuple[int, bytes]:
    """Status and body. No redirect is followed. Raises NoAnswer."""
    try:
        async with asyncio.timeout(within):
            return await _ask(urlsplit(url), urlencode(form).encode(), headers, trusted)
    except TimeoutError:
        raise NoAnswer("no answer in time") from None
    except OSError as error:
        raise NoAnswer(_reason(error)) from error
    except ValueError as error:  # of the URL
        raise NoAnswer(str(error)) from error


async def _ask(
    url: SplitResult, body: bytes, headers: Mapping[str, str], trusted: "ssl.SSLContext"
) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(
        url.hostname,
        url.port or PORTS[url.scheme],
        ssl=trusted if url.scheme == "https" else None,
        happy_eyeballs_delay=OTHER_FAMILY_AFTER,
    )
    try:
        http = h11.Connection(h11.CLIENT)
        writer.write(packed(http, _head(url, len(body), headers), body))
        return await _answer(http, reader)
    finally:
        writer.transport.abort()


def _head(url: SplitResult, length: int, headers: Mapping[str, str]) -> h11.Request:
    host = url.netloc.rpartition("@")[2]
    query = f"?{url.query}" if url.query else ""
    return h11.Request(
        method="POST",
        target=quote((url.path or "/") + query, safe=PRINTABLE),
        headers=[
            ("Host", host if host.isascii() else host.encode("idna").decode()),
            ("User-Agent", "invalidator"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", str(length)),
            *headers.items(),
        ],
    )


async def _answer(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, body = 0, bytearray()
    try:
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(PIECE))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > LARGEST:
                    raise NoAnswer(f"its answer has more than {LARGEST} bytes")
    except h11.RemoteProtocolError as error:
        hung_up = http.trailing_data[1]
        raise NoAnswer(
            "it hung up too early" if hung_up else f"it speaks no HTTP: {error}"
        ) from error
    return status, bytes(body)


def _reason(error: OSError) -> str:
    if said := getattr(error, "verify_message", ""):
        return f"its certificate is not trusted: {said}"
    if said := getattr(error, "reason", ""):  # of OpenSSL, whose numbers are its own
        return f"TLS: {said}"
    if error.errno and error.errno > 0:  # asyncio's own words are about its calls
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
