"""Decide who may send events: whoever knows a route's token, or signs with its secret.

Each service signs in a way of its own. A signature that carries a time is valid for five minutes,
so that a request somebody recorded cannot be sent again later; invalidating twice does no harm.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Final

from invalidator.runtime.http import Request

VALID_FOR: Final = 300.0  # seconds

Sender = Callable[[Request], str]  # returns why a request is not accepted; empty if it is


def sender(route: tuple[str, str]) -> Sender:
    """Return the check for a scheme and its secret."""
    scheme, secret = route
    return lambda request: SCHEMES[scheme](request, secret)


def _token(request: Request, secret: str) -> str:
    scheme, _, token = request.header("Authorization").partition(" ")
    if scheme.lower() != "bearer":
        return "expected the header `Authorization: Bearer TOKEN`"
    return "" if _same(token.strip(), secret) else "the token is wrong"


def _github(request: Request, secret: str) -> str:
    expected = f"sha256={_digest(secret.encode(), request.body).hex()}"
    return _compare(request, "X-Hub-Signature-256", expected)


def _shopify(request: Request, secret: str) -> str:
    expected = base64.b64encode(_digest(secret.encode(), request.body)).decode()
    return _compare(request, "X-Shopify-Hmac-Sha256", expected)


def _stripe(request: Request, secret: str) -> str:
    """`Stripe-Signature: t=TIME,v1=HEX,v1=HEX`, over `TIME.BODY`."""
    header = request.header("Stripe-Signature")
    parts = [part.strip().partition("=") for part in header.split(",")]
    sent = next((value for name, _, value in parts if name == "t"), "")
    expected = _digest(secret.encode(), _bytes(f"{sent}.") + request.body).hex()
    given = [value for name, _, value in parts if name == "v1"]
    return _signed(header and "Stripe-Signature", sent, expected, given)


def _standard(request: Request, secret: str) -> str:
    """Standard Webhooks: `webhook-signature: v1,BASE64 v1,BASE64`, over `ID.TIME.BODY`."""
    sent, name = request.header("webhook-timestamp"), request.header("webhook-id")
    signed = _bytes(f"{name}.{sent}.") + request.body
    expected = base64.b64encode(_digest(_key(secret), signed)).decode()
    header = request.header("webhook-signature")
    given = [part.removeprefix("v1,") for part in header.split() if part.startswith("v1,")]
    return _signed(header and "webhook-signature", sent, expected, given)


def _key(secret: str) -> bytes:
    """Return the bytes of a secret: base64 after `whsec_`, else the text itself."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return secret.encode()


SCHEMES: Final[Mapping[str, Callable[[Request, str], str]]] = {
    "token": _token,
    "github": _github,
    "shopify": _shopify,
    "stripe": _stripe,
    "standard": _standard,
}


def _signed(header: str, sent: str, expected: str, given: list[str]) -> str:
    if not header:
        return "the request is not signed"
    if not sent.isdecimal() or abs(time.time() - int(sent)) > VALID_FOR:
        return "the time in the signature is more than 5 minutes off"
    return "" if any(_same(each, expected) for each in given) else "the signature is wrong"


def _compare(request: Request, header: str, expected: str) -> str:
    given = request.header(header)
    if not given:
        return f"the request is not signed: expected the header {header}"
    return "" if _same(given, expected) else "the signature is wrong"


def _digest(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def _same(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(_bytes(one), other.encode())


def _bytes(header: str) -> bytes:
    """Return the bytes of a header, which may be any."""
    return header.encode("utf-8", "surrogateescape")
