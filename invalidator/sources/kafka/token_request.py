"""One HTTP request for a token, made by the standard library in a thread: proxies are used."""

import asyncio
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Final
from urllib.error import URLError
from urllib.parse import quote, urlencode
from urllib.request import (
    HTTPErrorProcessor,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

from invalidator.errors import InvalidatorError

LARGEST: Final = 64 << 10  # bytes of a response
PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))


class NoAnswer(InvalidatorError):  # noqa: N818 - the domain's word
    """There is no response, for a reason that a person can read."""


class _AsTheyAre(HTTPErrorProcessor):
    """Returns every response: the login in the request is for this server, not for a redirect."""

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:
        return response

    https_response = http_response


async def post_form(
    url: str,
    form: Mapping[str, str],
    headers: Mapping[str, str],
    trusted: ssl.SSLContext,
    *,
    within: float,
) -> tuple[int, bytes]:
    """Return status and body. Redirects are not followed. Raises NoAnswer.

    When the call is cancelled, its thread gives up `within` seconds later at most.
    """
    try:
        request = Request(  # noqa: S310 - settings accept http and https only
            quote(url, safe=PRINTABLE),
            urlencode(form).encode(),
            {"User-Agent": "invalidator", **headers},
        )
        opener = build_opener(_AsTheyAre, HTTPSHandler(context=trusted))
        async with asyncio.timeout(within):
            return await asyncio.to_thread(_post, opener, request, within)
    except TimeoutError:
        raise NoAnswer("no answer in time") from None
    except HTTPException as error:
        raise NoAnswer(f"no valid HTTP response: {str(error) or type(error).__name__}") from error
    except OSError as error:
        raise NoAnswer(_reason(error)) from error
    except ValueError as error:  # of the URL
        raise NoAnswer(str(error)) from error


def _post(opener: OpenerDirector, request: Request, within: float) -> tuple[int, bytes]:
    response: HTTPResponse
    with opener.open(request, timeout=within) as response:
        body = response.read(LARGEST + 1)
        if len(body) > LARGEST:
            raise NoAnswer(f"the response has more than {LARGEST} bytes")
        if response.length:  # so many bytes were announced, and did not come
            raise NoAnswer("the connection was closed before the response was complete")
        return response.status, body


def _reason(error: OSError) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if said := getattr(cause, "verify_message", ""):
        return f"its certificate is not trusted: {said}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason}"
    if isinstance(cause, OSError):
        return cause.strerror or str(cause) or type(cause).__name__
    return str(cause)
