"""Anything that takes a POST of names in JSON, signed as Standard Webhooks are."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from invalidator.model import Names
from invalidator.rules.rule import Cache
from invalidator.runtime.urls import HttpUrl
from invalidator.targets.edge.client import Request
from invalidator.targets.edge.service import Purge, Service, each, portions

TOGETHER: Final = 1000  # names of a request


class Post(Service):
    """One service of your own."""

    def __init__(
        self, cache: Cache, secret: str, url: HttpUrl, now: Callable[[], float] = time.time
    ) -> None:
        self._cache = cache.name
        self._key = _key(secret)
        self._path = url.path or "/"
        self._now = now

    def purges(self, names: Names) -> Iterator[Purge]:
        for few in portions(each(names), TOGETHER):
            said: dict[str, object] = {"cache": self._cache}
            for kind, name in few:
                found = said.setdefault(kind, [])
                assert isinstance(found, list)
                found.append(name)
            yield Purge(tuple(few), self._named(json.dumps(said, ensure_ascii=False).encode()))

    def sealed(self, request: Request) -> Request:
        """Sign the request with the time of now: receivers reject old ones."""
        sent_at = str(int(self._now()))
        headers = {**request.headers, "webhook-timestamp": sent_at}
        if self._key:
            signed = f"{request.headers['webhook-id']}.{sent_at}.".encode() + request.body
            digest = hmac.new(self._key, signed, hashlib.sha256).digest()
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return replace(request, headers=headers)

    def _named(self, body: bytes) -> Request:
        """Return a request with an id, which it keeps when it is sent again."""
        name = f"msg_{secrets.token_hex(16)}"
        headers = {"Content-Type": "application/json", "Idempotency-Key": name, "webhook-id": name}
        return Request("POST", self._path, headers, body)


def _key(secret: str) -> bytes:
    """Return the key: base64 after whsec_, as Standard Webhooks write it, or any other text."""
    if secret.startswith("whsec_"):
        with suppress(binascii.Error):
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


def build(cache: Cache, secret: str, url: HttpUrl) -> Service:
    return Post(cache, secret, url)
