"""Who may ask. A web page of somebody else's must not read what the daemon says to its owner.

Such a page cannot read our answers, unless its own name is made to lead to our address (DNS
rebinding): the name then stands in `Host`, and is none of ours.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from invalidator.http import Middleware, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FREE: Final = frozenset({"/livez", "/readyz", "/metrics"})  # tell nothing of rules and keys
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def guarding(names: Collection[str]) -> Middleware:
    """Refuses what comes by a strange name, or from the page of another."""
    ours = frozenset(name.lower() for name in names)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        return _refusal(request, ours) or await handler(request)

    return guard


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Whatever is answered: browsers are to run and embed nothing that is not ours."""
    response.headers.update(HEADERS)


def _refusal(request: web.Request, ours: Collection[str]) -> web.Response | None:
    if request.path in FREE:
        return None
    name = host_of(request.headers.get("Host", ""))
    if not (is_ours(name) or name in ours):
        said = f"{name or 'no name'} is none of this daemon's: add it to INVALIDATOR_ADMIN__HOSTS"
        return web.json_response({"error": said}, status=403)
    elsewhere = request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
    if elsewhere and (request.method, request.path) != ("GET", "/"):  # a link is no harm
        said = "the page of another site asks here: that is not allowed"
        return web.json_response({"error": said}, status=403)
    return None


def host_of(header: str) -> str:
    """The name in `Host`, without the port; empty where there is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_ours(name: str) -> bool:
    """An address, localhost, or a name without a dot, which nobody can own in the public DNS."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(".localhost"))
    return True
