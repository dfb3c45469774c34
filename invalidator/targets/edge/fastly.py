"""Fastly: surrogate keys in batches, URLs one by one; hard or soft."""

import json
from collections.abc import Iterator
from typing import Final

from invalidator.model import Kind, Names
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

TOGETHER: Final = 256  # surrogate keys of a request
LONGEST: Final = 1024  # bytes of one


class Fastly(Service):
    """One service of an account."""

    def __init__(self, cache: Cache, token: str, url: HttpUrl) -> None:
        self._service = url.path  # /service/ID
        soft = {"Fastly-Soft-Purge": "1"} if cache.soft else {}
        self._headers = {"Fastly-Key": token, "Accept": "application/json", **soft}

    def refusal(self, kind: Kind, name: str) -> str:
        return tag_refusal(name, LONGEST) if kind == "tags" else ""

    def purges(self, names: Names) -> Iterator[Purge]:
        for tags in portions(sorted(names.tags), TOGETHER):
            body = json.dumps({"surrogate_keys": tags}).encode()
            headers = {**self._headers, "Content-Type": "application/json"}
            request = Request("POST", f"{self._service}/purge", headers, body)
            yield Purge(of_kind("tags", tags), request)
        for url in sorted(names.keys):
            where = encoded(url).partition("://")[2]
            yield Purge(of_kind("keys", [url]), Request("POST", f"/purge/{where}", self._headers))

    def refused(self, server: str, response: Response) -> str:
        return judge(server, response, said_in(response.body, "msg"))


def build(cache: Cache, secret: str, url: HttpUrl) -> Service:
    return Fastly(cache, secret, url)
