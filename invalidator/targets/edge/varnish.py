"""Varnish: tags by xkey or as bans, URLs by PURGE, patterns as bans. docs/edge.md has the VCL."""

import re
from collections.abc import Iterator
from typing import Final

from invalidator.errors import Unavailable
from invalidator.model import Kind, Names
from invalidator.rules import globs
from invalidator.rules.rule import Cache
from invalidator.runtime.units import by_size
from invalidator.runtime.urls import HttpUrl
from invalidator.targets.edge.client import Request, Response
from invalidator.targets.edge.service import (
    Purge,
    Service,
    divided,
    encoded,
    of_kind,
    tag_refusal,
)

HEADER: Final = 4000  # bytes: Varnish takes 8 KB of one header, and 32 KB of a request
BAN_URL, BAN_TAGS = "x-ban-url", "x-ban-tags"


class Varnish(Service):
    """One server; it forgets immediately, and says so."""

    def __init__(self, cache: Cache, token: str) -> None:
        usual = "xkey-softpurge" if cache.soft else "xkey-purge"
        self._header = cache.header or usual
        self._bans = cache.bans
        self._login = {"Authorization": f"Bearer {token}"} if token else {}

    def refusal(self, kind: Kind, name: str) -> str:
        if kind == "tags":
            return tag_refusal(name, HEADER)
        longest = HEADER if kind == "keys" else HEADER // 4  # escapes make it longer
        return f"it is longer than {longest} characters" if len(encoded(name)) > longest else ""

    def purges(self, names: Names) -> Iterator[Purge]:
        for tags in by_size(sorted(names.tags), HEADER // 2):
            yield Purge(of_kind("tags", tags), self._of_tags(tags))
        for url in sorted(names.keys):
            host, path = divided(encoded(url))
            headers = {"Host": host} if host else {}
            yield Purge(of_kind("keys", [url]), self._asked("PURGE", path, headers))
        for pattern in sorted(names.patterns):
            ban = {BAN_URL: expression(pattern)}
            yield Purge(of_kind("patterns", [pattern]), self._asked("BAN", "/", ban))

    def refused(self, server: str, response: Response) -> str:
        """Only 200 is a success: whatever else comes may be of the service behind Varnish."""
        if response.status == 200:
            return ""
        said = f"it answered {response.status}: does its VCL take PURGE and BAN from here?"
        raise Unavailable(server, said, str(response.status))

    def _of_tags(self, tags: list[str]) -> Request:
        if self._bans:
            either = "|".join(map(re.escape, tags))
            return self._asked("BAN", "/", {BAN_TAGS: rf"(^|[\s,])({either})([\s,]|$)"})
        return self._asked("PURGE", "/", {self._header: " ".join(tags)})

    def _asked(self, method: str, path: str, headers: dict[str, str]) -> Request:
        return Request(method, path, {**self._login, **headers})


def expression(pattern: str) -> str:
    """Return the regular expression of a glob, for host and path as the VCL notes them."""
    where = pattern.partition("://")[2]
    return f"^{_translated(where)}$" if where else f"^[^/]*{_translated(pattern)}$"


def _translated(glob: str) -> str:
    """Return a glob as a regular expression; a class becomes any character, which bans more."""
    made = {globs.ANY: ".*", globs.ONE: "."}
    return "".join(made.get(kind) or re.escape(encoded(char)) for kind, char in globs.tokens(glob))


def build(cache: Cache, secret: str, url: HttpUrl) -> Service:
    return Varnish(cache, secret)
