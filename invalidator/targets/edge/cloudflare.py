"""Cloudflare: tags, prefixes and URLs of one zone, at the pace of its token bucket."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from invalidator.errors import Unavailable
from invalidator.model import Kind, Names
from invalidator.rules import globs
from invalidator.rules.rule import Cache
from invalidator.runtime.urls import HttpUrl
from invalidator.targets.edge.client import Request, Response
from invalidator.targets.edge.service import (
    Purge,
    Service,
    encoded,
    judge,
    of_kind,
    portions,
    said_in,
    tag_refusal,
)

TOGETHER: Final = 100  # operations of a request
LONGEST: Final = 1024  # characters of a tag
# Errors about the token or the zone: Cloudflare answers some of them with 400, too.
OURS: Final = frozenset({6003, 6111, 7000, 7003, 9103, 9106, 9107, 9109, 10000, 10001})


class Cloudflare(Service):
    """One zone of an account. The rate is that of the Pro plan."""

    rate = 5.0
    burst = 25

    def __init__(self, token: str, url: HttpUrl) -> None:
        self._path = f"{url.path}/purge_cache"  # /client/v4/zones/ID
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def refusal(self, kind: Kind, name: str) -> str:
        return tag_refusal(name, LONGEST) if kind == "tags" else ""

    def purges(self, names: Names) -> Iterator[Purge]:
        for tags in portions(sorted(names.tags), TOGETHER):
            yield self._purge("tags", tags, {"tags": tags})
        for urls in portions(sorted(names.keys), TOGETHER):
            yield self._purge("keys", urls, {"files": [*map(encoded, urls)]})
        for patterns in portions(sorted(names.patterns), TOGETHER):
            yield self._purge("patterns", patterns, {"prefixes": [*map(prefix, patterns)]})

    def refused(self, server: str, response: Response) -> str:
        errors = _errors(response.body)
        why = said_in(response.body, "errors", 0, "message")
        if any(error.get("code") in OURS for error in errors):
            raise Unavailable(server, f"it answered {response.status}: {why}", "token")
        if response.status == 200 and errors:
            return f"it answered 200, without success: {why}"
        return judge(server, response, why)

    def _purge(self, kind: Kind, names: Sequence[str], body: object) -> Purge:
        request = Request("POST", self._path, self._headers, json.dumps(body).encode())
        return Purge(of_kind(kind, names), request)


def prefix(pattern: str) -> str:
    """Return the text before the * of a pattern, without the scheme."""
    return encoded(globs.literal_start(pattern)).partition("://")[2]


def _errors(body: bytes) -> list[dict[str, Any]]:
    try:
        errors = json.loads(body)["errors"]
    except (ValueError, KeyError, TypeError):
        return []
    return [error for error in errors or () if isinstance(error, dict)]


def build(cache: Cache, secret: str, url: HttpUrl) -> Service:
    return Cloudflare(secret, url)
