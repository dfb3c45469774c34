"""Requests and responses."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import h11
from msgspec import Struct

JSON: Final = "application/json; charset=utf-8"


class Request(Struct, frozen=True):
    method: str
    path: str  # decoded
    query: Mapping[str, str]  # decoded; the first value of a repeated name
    headers: Mapping[str, str]  # names in lower case; repeated ones joined by commas
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the header's value; empty if there is none."""
        return self.headers.get(name.lower(), "")


class Response(Struct, frozen=True):
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    stream: AsyncGenerator[bytes, None] | None = None  # sent piece by piece, instead of a body


def as_json(
    plain: object, status: int = 200, *, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(status, json.dumps(plain).encode(), {"Content-Type": JSON, **(headers or {})})


def said(status: int, error: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error response."""
    return as_json({"error": error}, status, headers=headers)


def packed(http: h11.Connection, head: h11.Request | h11.Response, body: bytes) -> bytes:
    """Return a whole message as bytes."""
    return http.send(head) + http.send(h11.Data(data=body)) + http.send(h11.EndOfMessage())


def request_of(head: h11.Request) -> Request:
    """Return the request without its body, which comes later."""
    target = head.target.decode("ascii")
    _, absolute, rest = target.partition("://")
    if absolute and not target.startswith("/"):  # the form for proxies
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("?")
    return Request(head.method.decode("ascii"), unquote(path), _query(query), _headers(head))


def _query(text: str) -> dict[str, str]:
    return dict(reversed(parse_qsl(text, keep_blank_values=True)))


def _headers(head: h11.Request) -> dict[str, str]:
    found: dict[str, Any] = {}
    for name, value in head.headers:
        found.setdefault(name.decode("ascii"), []).append(value.decode("utf-8", "surrogateescape"))
    return {name: ", ".join(values) for name, values in found.items()}
