"""HTTP headers from what a request has read: for browsers, proxies and CDNs.

`CacheHeaders` is an ASGI middleware, `DjangoCacheHeaders` one for Django. Both let a response be
kept as long as the entries behind it are fresh, and name these for a purge at the edge.
"""

import hashlib
from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

from invalidator import layout
from invalidator.cache.seen import Seen, watching

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES: Final = 16_000  # of the header with keys: Fastly's and Cloudflare's limit
NEVER: Final = "no-store"
# With these, a response may be for one person only.
PERSONAL: Final = ("authorization", "cookie")
READS: Final = ("GET", "HEAD")
LASTING: Final = (200, 304, 404)  # what an entry, or its absence, may be shown as
KEPT_IN_304: Final = frozenset(
    ("cache-control", "etag", "vary", "date", "expires", "content-location")
)


class Control(Struct):
    """Holds what a route says of its own response, by `cache_control`."""

    value: str = ""  # the whole header, instead of what was read
    shared: bool | None = None  # by all users; None: unless the request has a cookie or a login


_CONTROL: ContextVar[Control | None] = ContextVar("invalidator.cache.http", default=None)


def cache_control(value: str = "", *, shared: bool | None = None) -> None:
    """Say how the response of the current request may be kept; called while it is made.

    `value` is the whole `Cache-Control`, such as "no-store" or "public, max-age=31536000,
    immutable". `shared=True`: the response is the same for everybody, also where the request has a
    cookie or a login; `shared=False`: it is for this user only.
    """
    control = _CONTROL.get()
    if control is not None:
        control.value = value or control.value
        control.shared = control.shared if shared is None else shared


@contextmanager
def _answering() -> Iterator[tuple[Seen, Control]]:
    """Collect what a request reads, and what its route says, while it is answered."""
    control = Control()
    outer = _CONTROL.set(control)
    try:
        with watching() as seen:
            yield seen, control
    finally:
        _CONTROL.reset(outer)


class Edge(Struct, frozen=True):
    """Describes the edge in front of a service."""

    header: str = ""  # the one that names keys and tags: xkey, Surrogate-Key or Cache-Tag
    separator: str = " "
    s_maxage: float | None = None  # seconds at most, whatever is left of the entries
    max_age: float | None = None  # the same for browsers, which nobody can purge
    stamp: str = layout.TAG_STAMP  # the key of a tag's stamp, as the cache has it


class Headers:
    """Works out the headers of responses, without I/O."""

    def __init__(self, edge: Edge, vary: Sequence[str]) -> None:
        self._edge = edge
        self._vary = vary
        self.kept_in_304 = KEPT_IN_304 | {edge.header.lower()}

    def add(
        self,
        asked: Mapping[str, str],
        status: int,
        given: MutableMapping[str, str],
        seen: Seen,
        control: Control,
    ) -> None:
        """Add to the headers of a response, whose names are in lower case."""
        if "cache-control" not in given and (control.value or seen.keys):
            value = control.value or self._control(asked, status, given, seen, control)
            if self._edge.header and _is_shared(value) and not self._name(given, seen):
                value = NEVER  # too many to name: nobody could purge it
            given["cache-control"] = value
        if self._vary and "cache-control" in given:
            given["vary"] = _joined(given.get("vary", ""), self._vary)

    def _control(
        self,
        asked: Mapping[str, str],
        status: int,
        given: Mapping[str, str],
        seen: Seen,
        control: Control,
    ) -> str:
        """Return the value of Cache-Control, from the entries that were read."""
        if status not in LASTING:
            return NEVER
        personal = any(asked.get(name) for name in PERSONAL)
        shared = control.shared if control.shared is not None else not personal
        max_age = _seconds(seen.fresh, self._edge.max_age)
        if "set-cookie" in given or not shared:
            return f"private, max-age={max_age}"
        s_maxage = _seconds(seen.fresh, self._edge.s_maxage)
        value = f"public, max-age={max_age}, s-maxage={s_maxage}"
        return f"{value}, stale-while-revalidate={int(seen.swr)}" if seen.swr >= 1 else value

    def _name(self, given: MutableMapping[str, str], seen: Seen) -> bool:
        """Name what the response depends on; return false if that is too much for a header."""
        if not seen.keys:
            return True
        before, _, after = self._edge.stamp.partition("{tag}")
        tags = [
            stamp[len(before) : len(stamp) - len(after)]
            for stamp in seen.stamps
            if stamp.startswith(before) and stamp.endswith(after)
        ]
        names = self._edge.separator.join(map(edge_name, (*tags, *seen.keys)))
        if len(names) > MOST_BYTES:
            return False
        given[self._edge.header.lower()] = names
        return True


def _is_shared(value: str) -> bool:
    return not any(word in value for word in ("private", "no-store"))


def edge_name(name: str) -> str:
    """Return a key or a tag as the edge knows it: without spaces, commas and what is no ASCII."""
    return quote(name, safe="!#$&'()*+/:;=?@[]^_`{|}~-.")


def etag_of(body: bytes, given: Mapping[str, str]) -> str:
    """Return the body's tag; a weak one where it is compressed, since others may do that anew."""
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    return f"W/{tag}" if "content-encoding" in given else tag


def is_known(asked: Mapping[str, str], etag: str) -> bool:
    """Return whether the client has this version already."""
    listed = asked.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in listed.split(",")}
    return listed.strip() == "*" or etag.removeprefix("W/") in tags


class CacheHeaders:
    """ASGI middleware: `app.add_middleware(CacheHeaders, header="xkey")`.

    It sets nothing that the application has set itself. A response in several parts is passed on
    as it comes, without an ETag.
    """

    def __init__(
        self,
        app: App,
        *,
        header: str = "",
        separator: str = " ",
        s_maxage: float | None = None,
        max_age: float | None = None,
        stamp: str = layout.TAG_STAMP,
        vary: Sequence[str] = (),
        etag: bool = True,
    ) -> None:
        self._app = app
        self._headers = Headers(Edge(header, separator, s_maxage, max_age, stamp), vary)
        self._etag = etag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in READS:
            await self._app(scope, receive, send)
            return
        with _answering() as (seen, control):
            answer = _Answer(self._headers, self._etag, scope, send, seen, control)
            await self._app(scope, receive, answer.send)


class _Answer:
    """One response on its way out: its start waits until its first part is known."""

    def __init__(
        self,
        headers: Headers,
        etag: bool,
        scope: Scope,
        send: Send,
        seen: Seen,
        control: Control,
    ) -> None:
        self._headers = headers
        self._etag = etag
        self._scope = scope
        self._send = send
        self._seen = seen
        self._control = control
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None and message["type"] == "http.response.body":
            start, self._start = self._start, None
            message = self._begin(start, message)
            await self._send(start)
        await self._send(message)

    def _begin(self, start: Message, first: Message) -> Message:
        """Complete the headers, and return the first part of the body."""
        asked = _folded(self._scope["headers"])
        given = _folded(start["headers"])
        added = dict(given)
        self._headers.add(asked, start["status"], added, self._seen, self._control)
        body = first.get("body", b"")
        whole = not first.get("more_body") and start["status"] == 200
        whole = whole and self._scope["method"] == "GET"
        if self._etag and whole and "no-store" not in added.get("cache-control", NEVER):
            etag = added.setdefault("etag", etag_of(body, given))
            if is_known(asked, etag):
                start["status"] = 304
                start["headers"] = [
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in added.items()
                    if name in self._headers.kept_in_304
                ]
                return {**first, "body": b""}
        start["headers"] = [
            *(pair for pair in start["headers"] if not _changed(pair, given, added)),
            *(
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in added.items()
                if given.get(name) != value
            ),
        ]
        return first


def _changed(pair: tuple[bytes, bytes], given: Mapping[str, str], added: Mapping[str, str]) -> bool:
    name = pair[0].decode("latin-1").lower()
    return given[name] != added[name]


def _folded(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        text = name.decode("latin-1").lower()
        found[text] = ", ".join(filter(None, (found.get(text), value.decode("latin-1"))))
    return found


def _joined(given: str, more: Sequence[str]) -> str:
    names = [name.strip() for name in given.split(",") if name.strip()]
    known = {name.lower() for name in names}
    return ", ".join([*names, *(name for name in more if name.lower() not in known)])


def _seconds(fresh: float, most: float | None) -> int:
    """Return whole seconds, rounded down: less is safe."""
    return int(fresh if most is None else min(fresh, most))


class DjangoCacheHeaders:
    """Django middleware: the settings `CACHE_HEADERS = {"header": "xkey"}` are its options."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        from django.conf import settings

        options = dict(getattr(settings, "CACHE_HEADERS", {}))
        vary, self._etag = options.pop("vary", ()), options.pop("etag", True)
        self._headers = Headers(Edge(**options), vary)
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        if request.method not in READS:
            return self._get_response(request)
        with _answering() as (seen, control):
            response = self._get_response(request)
        asked = {name.lower(): value for name, value in request.headers.items()}
        given = {name.lower(): value for name, value in response.items()}
        if response.cookies:
            given["set-cookie"] = "yes"
        added = dict(given)
        self._headers.add(asked, response.status_code, added, seen, control)
        for name, value in added.items():
            if given.get(name) != value:
                response[name] = value
        return self._tagged(request, response, added)

    def _tagged(self, request: Any, response: Any, added: Mapping[str, str]) -> Any:
        """Give a whole response its ETag, or answer with 304; Django knows how."""
        from django.utils.cache import get_conditional_response

        whole = response.status_code == 200 and not response.streaming
        whole = whole and request.method == "GET"
        if not (self._etag and whole) or "no-store" in added.get("cache-control", NEVER):
            return response
        response.setdefault("ETag", etag_of(response.content, added))
        return get_conditional_response(request, etag=response["ETag"], response=response)
