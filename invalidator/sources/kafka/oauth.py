"""Tokens for the brokers (SASL OAUTHBEARER), by OAuth's client credentials.

The library dies of any error that is not its own while it connects, without a word: whatever goes
wrong here is raised as a KafkaConnectionError, after which it tries again.
"""

import asyncio
import math
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote_plus

import orjson
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from msgspec import Struct

from invalidator.http import NoAnswer, post_form
from invalidator.settings.security import Sasl

log = structlog.get_logger("invalidator")

ANSWER_WITHIN = 5.0  # seconds
ASK_AGAIN = 1.0  # seconds after a failure; the library itself would try ten times a second
RENEW_AT = 0.8  # of a token's life
USUAL_LIFE = 300.0  # seconds, where the server does not say
SAID = 200  # characters of an answer that are shown


class _Token(Struct, frozen=True):
    text: str
    renew_at: float
    ends_at: float


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # it ships no types
    """One token for all connections; a new one in time."""

    def __init__(
        self,
        sasl: Sasl,
        trusted: Callable[[], ssl.SSLContext],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refusal = ""  # why there is no new one; empty while all is well
        self._sasl = sasl
        self._trusted = trusted
        self._clock = clock
        self._token: _Token | None = None
        self._ask_at = 0.0  # not before
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        async with self._asking:
            now = self._clock()
            if (not self._token or now >= self._token.renew_at) and now >= self._ask_at:
                await self._renew()
            if self._token and self._clock() < self._token.ends_at:
                return self._token.text
        raise KafkaConnectionError(self.refusal or "the token has ended")

    def drop(self) -> None:
        """The brokers did not take it: another one may be better."""
        self._token = None

    def extensions(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self._sasl.extensions)

    async def _renew(self) -> None:
        try:
            status, body = await self._ask()
            self._token = _parse(status, body, self._clock())
        except Exception as error:  # noqa: BLE001 - the library would die of it
            self._ask_at = self._clock() + ASK_AGAIN
            self._refused(_reason(error))
        else:
            if self.refusal:
                log.info("token-given", server=self._sasl.token_url)
            self.refusal = ""

    def _refused(self, reason: str) -> None:
        said, self.refusal = self.refusal, f"no token from {self._sasl.token_url}: {reason}"
        if said != self.refusal:
            log.warning("token-refused", reason=self.refusal)

    async def _ask(self) -> tuple[int, bytes]:
        sasl = self._sasl
        form = {"grant_type": "client_credentials"} | ({"scope": sasl.scope} if sasl.scope else {})
        headers = {"Accept": "application/json", "Authorization": _login(sasl)}
        trusted = self._trusted()
        return await post_form(sasl.token_url, form, headers, trusted, within=ANSWER_WITHIN)


def _login(sasl: Sasl) -> str:
    """As RFC 6749 wants it: encoded, before it is encoded."""
    words = (sasl.client_id, sasl.client_secret.get_secret_value())
    return "Basic " + b64encode(":".join(map(quote_plus, words)).encode()).decode()


def _parse(status: int, body: bytes, now: float) -> _Token:
    """Raises ValueError, whose text is for a person and never holds the token."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ValueError(f"it answered {status}, and no JSON object")
    if status != 200:
        why = answer.get("error_description") or answer.get("error") or "without a reason"
        raise ValueError(f"it answered {status}: {' '.join(str(why).split())[:SAID]}")
    text = answer.get("access_token")
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text:
        raise ValueError("its answer holds no access_token")
    life = float(answer.get("expires_in") or USUAL_LIFE)
    if not 0 < life < math.inf:
        raise ValueError(f"its answer says expires_in: {life:g}")
    return _Token(text, now + life * RENEW_AT, now + life)


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    for_people = isinstance(error, NoAnswer | ValueError) and said
    return said if for_people else f"{type(error).__name__}: {said}"
