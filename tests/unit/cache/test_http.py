"""Headers from what a request has read: a table of cases, and the middleware around an app."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from invalidator.cache.http import CacheHeaders, cache_control, edge_name
from invalidator.cache.seen import SEEN

Given = list[tuple[bytes, bytes]]


def read(
    key: str = "order:1", tags: tuple[str, ...] = ("customer:7",), fresh: float = 60.9
) -> None:
    """Stand for a read of an entry."""
    seen = SEEN.get()
    assert seen
    stamps = [*(f"invalidator:stamp:{tag}" for tag in tags), "cache:version:orders"]
    seen.note(key, stamps, fresh, 30.0)


class App:
    """Answers every request, after it did something."""

    def __init__(
        self, does: Any = read, *, status: int = 200, headers: Given | None = None
    ) -> None:
        self._does = does
        self._status = status
        self._headers = headers or []
        self.parts = [b"body"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._does()
        start = {"type": "http.response.start", "status": self._status, "headers": self._headers}
        await send(start)
        for at, part in enumerate(self.parts, 1):
            more = at < len(self.parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})


def get(
    app: App, asked: Mapping[str, str] | None = None, method: str = "GET", **options: Any
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the app reads nothing")

    headers = [(name.encode(), value.encode()) for name, value in (asked or {}).items()]
    scope = {"type": "http", "method": method, "headers": headers}
    asyncio.run(CacheHeaders(app, **options)(scope, receive, send))
    start, *parts = sent
    found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return start["status"], found, b"".join(part["body"] for part in parts)


def nothing() -> None:
    """Stand for a route that reads no entry."""


def immutable() -> None:
    cache_control("public, max-age=31536000, immutable")


def never() -> None:
    read()
    cache_control("no-store")


def shared() -> None:
    read()
    cache_control(shared=True)


def own() -> None:
    read()
    cache_control(shared=False)


def stale() -> None:
    read()
    read("order:2", fresh=0.0)


def too_many() -> None:
    for number in range(2000):
        read(f"order:{number:010}")


COOKIE = {"cookie": "session=1"}
LOGIN = {"authorization": "Bearer x"}
PUBLIC = "public, max-age=60, s-maxage=60, stale-while-revalidate=30"
PRIVATE = "private, max-age=60"

CASES = {
    "an API's response": (App(), {}, PUBLIC),
    "with a cookie": (App(), COOKIE, PRIVATE),
    "with a login": (App(), LOGIN, PRIVATE),
    "the same for everybody": (App(shared), COOKIE | LOGIN, PUBLIC),
    "private data": (App(own), {}, PRIVATE),
    "it sets a cookie": (App(shared, headers=[(b"Set-Cookie", b"a=1")]), {}, PRIVATE),
    "one entry is stale": (
        App(stale),
        {},
        "public, max-age=0, s-maxage=0, stale-while-revalidate=30",
    ),
    "an immutable asset": (App(immutable), COOKIE, "public, max-age=31536000, immutable"),
    "never": (App(never), {}, "no-store"),
    "no entry was read": (App(nothing), {}, None),
    "there is none": (App(status=404), {}, PUBLIC),
    "an error": (App(status=500), {}, "no-store"),
    "a redirect": (App(status=302), {}, "no-store"),
    "the route's own": (App(headers=[(b"Cache-Control", b"max-age=5")]), {}, "max-age=5"),
    "too many names for a header": (App(too_many), {}, "no-store"),
}


@pytest.mark.parametrize("case", CASES)
def test_how_long_a_response_may_be_kept(case: str) -> None:
    app, asked, expected = CASES[case]
    _, headers, _ = get(app, asked, header="xkey")
    assert headers.get("cache-control") == expected
    named = expected is not None and "s-maxage" in expected
    assert ("xkey" in headers) is named, "only what a shared cache keeps has to be purged"


def test_the_edge_learns_tags_and_keys() -> None:
    def reads() -> None:
        read()
        read("a b,ü", ("customer:7", "shop"))

    _, headers, _ = get(App(reads), header="Cache-Tag", separator=",")
    assert headers["cache-tag"] == "customer:7,shop,order:1,a%20b%2C%C3%BC"
    assert edge_name("a b,ü") == "a%20b%2C%C3%BC"


def test_browsers_and_the_edge_may_be_told_less() -> None:
    _, headers, _ = get(App(), max_age=0, s_maxage=10)
    assert headers["cache-control"].startswith("public, max-age=0, s-maxage=10")


@pytest.mark.parametrize("listed", ["{}", "W/{}", '"other", {}', "*"])
def test_what_the_client_has_is_not_sent_again(listed: str) -> None:
    status, headers, body = get(App())
    assert (status, body) == (200, b"body")
    etag = headers["etag"]
    app = App(headers=[(b"Content-Type", b"text/plain"), (b"Content-Length", b"4")])
    status, headers, body = get(app, {"if-none-match": listed.format(etag)}, header="xkey")
    assert (status, body, headers["etag"]) == (304, b"", etag)
    assert {"cache-control", "xkey"} < set(headers)
    assert "content-length" not in headers


def test_another_version_is_sent() -> None:
    app = App()
    etag = get(app)[1]["etag"]
    app.parts = [b"another"]
    status, headers, body = get(app, {"if-none-match": etag})
    assert (status, body) == (200, b"another")
    assert headers["etag"] != etag


def test_a_compressed_body_has_a_weak_tag() -> None:
    _, headers, _ = get(App(headers=[(b"Content-Encoding", b"gzip")]))
    assert headers["etag"].startswith('W/"')


@pytest.mark.parametrize("case", ["in parts", "HEAD", "POST", "switched off", "never kept"])
def test_no_tag_where_it_would_be_wrong_or_useless(case: str) -> None:
    app, method = App(never if case == "never kept" else read), "GET"
    if case == "in parts":
        app.parts = [b"bo", b"dy"]
    if case in ("HEAD", "POST"):
        method = case
    status, headers, _ = get(
        app if method != "POST" else App(nothing),
        {"if-none-match": "*"},
        method,
        etag=case != "switched off",
    )
    assert (status, "etag" in headers) == (200, False)


def test_vary_is_added_to_what_the_route_says() -> None:
    _, headers, _ = get(App(headers=[(b"Vary", b"Accept")]), vary=["accept", "Accept-Language"])
    assert headers["vary"] == "Accept, Accept-Language"


def test_other_messages_pass() -> None:
    """Also those of extensions, and of lifespan."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint"})
        seen.append(scope["type"])

    async def send(message: Any) -> None:
        seen.append(message["type"])

    for kind in ("lifespan", "http"):
        scope: dict[str, Any] = {"type": kind, "method": "GET", "headers": []}
        asyncio.run(CacheHeaders(app)(scope, None, send))  # type: ignore[arg-type]
    assert seen == ["http.response.early_hint", "lifespan", "http.response.early_hint", "http"]
