"""Tokens for the brokers (SASL OAUTHBEARER), by OAuth's client credentials.

While the library connects, an error that is not its own kills it silently: whatever goes wrong here
is raised as a KafkaConnectionError, after which it tries again.
"""

import asyncio
import math
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from urllib.error import URLError
from urllib.parse import quote, quote_plus, urlencode
from urllib.request import (
    HTTPErrorProcessor,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

import orjson
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from msgspec import Struct

from invalidator.settings.security import Sasl

log = structlog.get_logger("invalidator")

ANSWER_WITHIN = 5.0  # seconds
ASK_AGAIN = 1.0  # seconds after a failure; the library itself would try ten times a second
RENEW_AT = 0.8  # of a token's life
USUAL_LIFE = 300.0  # seconds, where the server does not say
SAID = 200  # characters of the server's reason that are shown
LARGEST = 64 << 10  # bytes of a response
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


class Token(Struct, frozen=True):
    text: str
    renew_at: float
    ends_at: float

    @classmethod
    def living(cls, text: str, life: float, now: float) -> "Token":
        """Return a token that is valid for so many seconds."""
        return cls(text, now + life * RENEW_AT, now + life)


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # it ships no types
    """Keeps one token for all connections, and renews it in time."""

    def __init__(
        self,
        sasl: Sasl,
        trusted: Callable[[], ssl.SSLContext],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refusal = ""  # why there is no new token; empty while all is well
        self.server = sasl.token_url  # for a person
        self._sasl = sasl
        self._trusted = trusted
        self._clock = clock
        self._token: Token | None = None
        self._ask_at = 0.0  # not before
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        async with self._asking:
            now = self._clock()
            if (not self._token or now >= self._token.renew_at) and now >= self._ask_at:
                await self._renew()
            if self._token and self._clock() < self._token.ends_at:
                return self._token.text
        raise KafkaConnectionError(self.refusal or "the token has expired")

    def drop(self) -> None:
        """Forget the token, which the brokers rejected."""
        self._token = None

    def extensions(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self._sasl.extensions)

    async def _renew(self) -> None:
        try:
            self._token = await self._fetch()
        except Exception as error:  # noqa: BLE001 - it would kill the library
            self._ask_at = self._clock() + ASK_AGAIN
            before = self.refusal
            self.refusal = f"no token from {self.server}: {_reason(error)}"
            if before != self.refusal:
                log.warning("kafka-token-rejected", reason=self.refusal)
        else:
            if self.refusal:
                log.info("kafka-token-renewed", server=self.server)
            self.refusal = ""

    async def _fetch(self) -> Token:
        """Return a new token. Any error is a reason not to have one."""
        sasl = self._sasl
        form = {"grant_type": "client_credentials"} | ({"scope": sasl.scope} if sasl.scope else {})
        headers = {"Accept": "application/json", "Authorization": _login(sasl)}
        trusted = self._trusted()
        status, body = await post_form(sasl.token_url, form, headers, trusted, within=ANSWER_WITHIN)
        return _parse(status, body, self._clock())


def _login(sasl: Sasl) -> str:
    """Return the header: RFC 6749 requires both words to be URL-encoded first."""
    words = (sasl.client_id, sasl.client_secret.get_secret_value())
    return "Basic " + b64encode(":".join(map(quote_plus, words)).encode()).decode()


def _parse(status: int, body: bytes, now: float) -> Token:
    """Return the token of a response.

    Raises ValueError, whose text is for a person and never contains the token.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ValueError(f"status {status} without a JSON object")
    if status != 200:
        why = answer.get("error_description") or answer.get("error") or "no reason given"
        raise ValueError(f"status {status}: {' '.join(str(why).split())[:SAID]}")
    text = answer.get("access_token")
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text:
        raise ValueError("the response has no access_token")
    life = float(answer.get("expires_in") or USUAL_LIFE)
    if not 0 < life < math.inf:
        raise ValueError(f"the response says expires_in: {life:g}")
    return Token.living(text, life, now)


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if said and isinstance(error, ValueError) else f"{type(error).__name__}: {said}"


class AsTheyAre(HTTPErrorProcessor):
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
    """Return status and body. Redirects are not followed, proxies are used.

    Raises ValueError with a text for a person. When the call is cancelled, its thread gives up
    `within` seconds later at most.
    """
    try:
        request = Request(  # noqa: S310 - settings accept http and https only
            quote(url, safe=PRINTABLE),
            urlencode(form).encode(),
            {"User-Agent": "invalidator", **headers},
        )
        opener = build_opener(AsTheyAre, HTTPSHandler(context=trusted))
        async with asyncio.timeout(within):
            return await asyncio.to_thread(_post, opener, request, within)
    except (HTTPException, OSError) as error:
        raise ValueError(_network_reason(error)) from error


def _post(opener: OpenerDirector, request: Request, within: float) -> tuple[int, bytes]:
    response: HTTPResponse
    with opener.open(request, timeout=within) as response:
        return response.status, response.read(LARGEST)


def _network_reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, HTTPException):
        return f"no valid HTTP response: {str(cause) or type(cause).__name__}"
    if said := getattr(cause, "verify_message", ""):
        return f"its certificate is not trusted: {said}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason}"
    if isinstance(cause, OSError):
        return cause.strerror or str(cause) or type(cause).__name__
    return str(cause)
