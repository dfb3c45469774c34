"""Who may send events, by the examples that the services document."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

import pytest

from invalidator.runtime.http import Request
from invalidator.sources.http.senders import sender

SECRET = "0123456789abcdef0123"
NOW = 1_614_265_330
SHOPIFY = base64.b64encode(hmac.new(SECRET.encode(), b"{}", hashlib.sha256).digest()).decode()
STRIPE = hmac.new(SECRET.encode(), b"%d.{}" % NOW, hashlib.sha256).hexdigest()

# scheme, secret, body, headers that are right
RIGHT = {
    "token": ("token", SECRET, b"{}", {"authorization": f"Bearer {SECRET}"}),
    "github": (
        "github",
        "It's a Secret to Everybody",
        b"Hello, World!",
        {
            "x-hub-signature-256": "sha256="
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        },
    ),
    "shopify": ("shopify", SECRET, b"{}", {"x-shopify-hmac-sha256": SHOPIFY}),
    "stripe": ("stripe", SECRET, b"{}", {"stripe-signature": f"t={NOW},v1=00,v1={STRIPE},v0=1"}),
    "standard": (
        "standard",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        b'{"test": 2432232314}',
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": str(NOW),
            "webhook-signature": "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
    ),
}


@pytest.fixture(autouse=True)
def _at_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 200.0)


def refused(scheme: str, secret: str, body: bytes, headers: Mapping[str, str]) -> str:
    return sender((scheme, secret))(Request("POST", "/x", {}, headers, body))


@pytest.mark.parametrize("case", RIGHT)
def test_who_knows_the_secret_may_send(case: str) -> None:
    assert refused(*RIGHT[case]) == ""


@pytest.mark.parametrize("case", RIGHT)
def test_others_may_not(case: str) -> None:
    scheme, secret, body, headers = RIGHT[case]
    assert refused(scheme, f"{secret[:-2]}Qw", body, headers)
    assert refused(scheme, secret, body, {})
    assert refused(scheme, secret, body, dict.fromkeys(headers, ""))
    assert refused(scheme, secret, body, dict.fromkeys(headers, "\udcff"))
    if scheme != "token":
        assert refused(scheme, secret, body + b" ", headers)


@pytest.mark.parametrize("case", ["stripe", "standard"])
def test_a_signature_is_valid_for_five_minutes(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 301.0)
    assert "5 minutes" in refused(*RIGHT[case])
